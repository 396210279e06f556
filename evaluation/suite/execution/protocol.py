"""What every way of carrying out jobs can do, and what became of a job; it knows no cells."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Literal, Protocol

from evaluation.suite.execution.jobs import Job
from ravel.common.errors import StorageError, SuiteError

__all__ = ["Ended", "Executor", "Problem", "problem_of"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a job has no result, as plain values: it may come from another process."""

    kind: Literal["storage", "mistake", "raised", "died"]
    """`storage`: nothing can be written, so nothing more can be done; `mistake`: a SuiteError, which would
    come again; `raised`: any other exception; `died`: the worker is gone."""
    words: str
    """What happened, in one paragraph."""
    trace: str = ""
    """The traceback, where there is one to look at."""
    parts: tuple[str, str, str] | None = None
    """What was expected, what came and what to do, where the error said so."""

    def error(self) -> SuiteError:
        """Return the problem as an error that ends the run."""
        kind = StorageError if self.kind == "storage" else SuiteError
        if self.parts is not None:
            expected, came, todo = self.parts
            return kind(expected=expected, came=came, todo=todo)
        return kind(
            expected="this part of the run to end well",
            came=self.words.rstrip("."),
            todo="run the same command again, which goes on from there; if it comes again, report it",
        )


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a job."""

    job: Job
    """The job."""
    value: object
    """What it returned; None where it has a problem."""
    problem: Problem | None
    """Why it has no result."""
    seconds: float
    """How long it took."""


class Executor(Protocol):
    """Carries out jobs. Jobs may run at the same time and end in any order."""

    def submit(self, job: Job) -> None:
        """Take a job in hand, now or when there is room."""
        ...

    def next(self) -> Ended:
        """Wait until a job has ended, and return it; each submitted job is returned once. An interruption
        comes through as KeyboardInterrupt."""
        ...

    def close(self) -> None:
        """End the workers. What they were doing is left as it is: it can be gone on with."""
        ...


def problem_of(error: Exception) -> Problem:
    """Return an exception as a problem that can be sent to another process."""
    if isinstance(error, SuiteError):
        kind: Literal["storage", "mistake"] = "storage" if isinstance(error, StorageError) else "mistake"
        return Problem(kind, str(error), parts=(error.expected, error.came, error.todo))
    words = f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"
    return Problem("raised", words, "".join(traceback.format_exception(error)))
