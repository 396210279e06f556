"""What a job is, what every way of carrying out jobs can do, and what became of a job; it knows no job by
name."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from das.sites import Site
from evaluation.suite.execution.worker_state import WorkerState
from evaluation.suite.grid import Cell
from ravel.common.errors import StorageError, SuiteError
from ravel.common.progress import Progress


class Job(Protocol):
    """One piece of a run. Its result is a function of the run's folder and of what it says itself."""

    @property
    def stage(self) -> str:
        """What is done, in one word; as records of failures have it."""

    @property
    def site(self) -> Site | None:
        """Where most of its work is: a worker that has kept that site's states is given it first."""

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells whose results it makes."""

    @property
    def divides_itself(self) -> bool:
        """Whether it keeps several processes at work where the first one does it."""

    def label(self) -> str:
        """Name the job for people."""

    def apart(self) -> Sequence[Job]:
        """Return jobs of one cell each that do the same together; none where it can't be divided."""

    def work(self, state: WorkerState, progress: Progress) -> object:
        """Do it, writing results into the run's folder; return what the coordinator must know."""


@dataclass(frozen=True, slots=True)
class JobError:
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
        """Return it as an error that ends the run."""
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
class JobResult:
    """What became of a job."""

    job: Job
    """The job."""
    value: object
    """What it returned; None where it has an error."""
    error: JobError | None
    """Why it returned nothing."""
    seconds: float
    """How long it took."""


class Executor(Protocol):
    """Carries out jobs. Jobs may run at the same time and end in any order."""

    def submit(self, job: Job) -> None:
        """Take a job in hand, now or when there is room."""

    def next(self) -> JobResult:
        """Wait until a job has ended, and return it; each submitted job is returned once. An interruption
        comes through as KeyboardInterrupt."""

    def close(self) -> None:
        """End the workers. What they were doing is left as it is: it can be gone on with."""


def job_error(error: Exception) -> JobError:
    """Return an exception in a form that can be sent to another process."""
    if isinstance(error, SuiteError):
        kind: Literal["storage", "mistake"] = "storage" if isinstance(error, StorageError) else "mistake"
        return JobError(kind, str(error), parts=(error.expected, error.came, error.todo))
    words = f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"
    return JobError("raised", words, "".join(traceback.format_exception(error)))
