"""What a command ends with, for people and for programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import typer

from evaluation.commands.printing.lines import print_json, print_json_lines, warn


@dataclass(frozen=True, slots=True)
class Result:
    """What a command found, and what a script is told of it."""

    json: Any
    """What `--json` prints, or a function that finds it, if that takes more than the text needs."""
    text: Callable[[], None]
    """Prints the summary that people read."""
    by_line: bool = False
    """Print `json`, which is a list, as JSON Lines."""
    warnings: Sequence[str] = ()
    """Paragraphs that follow on standard error."""
    exit_code: int = 0
    """What the process ends with."""

    def print(self, *, as_json: bool) -> None:
        """Print it one way or the other, then the warnings; raise `typer.Exit` unless the exit code is 0."""
        if as_json:
            self._print_json(self.json() if callable(self.json) else self.json)
        else:
            self.text()
        for paragraph in self.warnings:
            warn(paragraph)
        if self.exit_code:
            raise typer.Exit(self.exit_code)

    def _print_json(self, found: Any) -> None:
        if self.by_line:
            print_json_lines(found)
        else:
            print_json(found)
