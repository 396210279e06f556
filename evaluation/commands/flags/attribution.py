"""Flags about the scores of tokens over an instance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer


@dataclass(frozen=True, slots=True)
class InstanceFlags:
    """What is scored of an instance."""

    instance: Annotated[
        Path | None,
        typer.Option("--instance", help="Folder written by ravel build: score its prompts instead of one."),
    ] = None
    split: Annotated[str, typer.Option("--split", help="With --instance: whose bases are the prompts.")] = (
        "context_val"
    )
    prompts: Annotated[int, typer.Option("--prompts", min=1, help="With --instance: prompts at most.")] = 120
    site: Annotated[
        str | None,
        typer.Option(
            "--site",
            help="With --instance: where a swap shows the fact to be; by default in the middle block.",
        ),
    ] = None
