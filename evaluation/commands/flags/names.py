"""The flags that are not left out, and how help shows the names of a known list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MODEL, MEMORY, EXPERT = "Model", "Memory and speed", "Expert"
"""Panels of the help beside that of common flags."""


def choices(*known: str) -> dict[str, Any]:
    """Return what `typer.Option` takes so that help and the shell's completion list these names.

    They are not checked here: `ravel.common.errors.one_of`, or the config they go into, names near misses.
    """
    return {
        "metavar": f"[{' | '.join(known)}]",
        "autocompletion": lambda incomplete: [name for name in known if name.startswith(incomplete)],
    }


def given(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags that the user gave: neither None, nor empty, nor a switch left off."""
    return {name: value for name, value in flags.items() if not _left_out(value)}


def _left_out(value: Any) -> bool:
    # By identity, for 0 is a value.
    return value is None or value is False or value == []
