"""Who is told how far a command is."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "silent"]


class Progress(Protocol):
    """Told how far a run is; may do nothing."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Report that `done` of `total` parts of `stage` are finished.

        Stages: `cells` and `test` count cells of the whole run; `fit <cell>` and `judge <cell>` count inside
        one cell. A stage `note <text>` counts nothing: it is a line for the user.
        """
        ...


def silent(stage: str, done: int, total: int) -> None:
    """Drop the report."""
