"""Single lines and JSON values: results on standard output, all else on standard error."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer


class Interrupted(Exception):  # noqa: N818 - like KeyboardInterrupt, it is no error
    """The user pressed Ctrl-C in a command that can say what is kept."""

    def __init__(self, kept: str) -> None:
        super().__init__(f"Interrupted. {kept}")


@contextmanager
def keeping(kept: str) -> Iterator[None]:
    """Say, if the block is interrupted, what is kept and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(kept) from None


def say(text: str) -> None:
    """Print a line of the summary."""
    typer.echo(text)


def warn(text: str) -> None:
    """Print a paragraph to standard error; line ends inside it become blanks."""
    typer.echo(" ".join(text.splitlines()), err=True)


def print_json(value: Any) -> None:
    """Print one JSON value. NaN is refused."""
    typer.echo(json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2))


def print_json_lines(rows: Sequence[dict[str, Any]]) -> None:
    """Print one JSON object per line. NaN is refused."""
    for row in rows:
        typer.echo(json.dumps(row, ensure_ascii=False, allow_nan=False))


def described(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line per value; a mapping has one per entry."""
    for key, value in row.items():
        label = key.replace("_", " ")
        if isinstance(value, dict) and value:
            yield f"{label}:"
            yield from (f"  {name}: {as_text(part)}" for name, part in value.items())
        else:
            yield f"{label}: {as_text(value)}"


def as_text(value: Any) -> str:
    """Return a value as it stands in a listing."""
    if isinstance(value, dict):
        return ", ".join(f"{key}={as_text(part)}" for key, part in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
