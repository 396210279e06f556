"""What a command that takes long says of itself, and who is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class Counted:
    """So many of the parts of a stage are done."""

    stage: str
    """What is counted: `cells` and `test` are cells of the whole run; a part names its cell."""
    done: int
    """Parts that are done."""
    total: int
    """All of them."""
    part: bool = False
    """True for what is counted inside one part of another stage, such as the steps of one fit."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A part of a run was just finished, and for the first time."""

    what: str
    """Its name."""
    seconds: float
    """How long it took."""
    done: int
    """Parts of the run that are done with it."""
    total: int
    """All of them."""


@dataclass(frozen=True, slots=True)
class Note:
    """A line for the user."""

    text: str
    """The line."""


Event: TypeAlias = Counted | Finished | Note


class Progress(Protocol):
    """Told how far a command is; may do nothing."""

    def __call__(self, event: Event, /) -> None:
        """Take one event."""


def silent(event: Event) -> None:
    """Drop the event."""


def counting(progress: Progress, stage: str, *, part: bool = False) -> Callable[[int, int], None]:
    """Return what takes how many parts of one stage are done, and how many there are."""
    return lambda done, total: progress(Counted(stage, done, total, part=part))
