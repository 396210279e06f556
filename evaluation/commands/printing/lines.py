"""Single lines and JSON values: results on standard output, all else on standard error."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
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
