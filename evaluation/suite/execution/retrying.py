"""Carries out jobs until each has a result or has failed for good: what is tried again, and how often."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from evaluation.suite.execution.jobs import Fit, Job, Judge
from evaluation.suite.execution.protocol import Ended, Executor, Problem
from ravel.common.progress import Progress

__all__ = ["Failed", "carry_out", "result_of"]


@dataclass(frozen=True, slots=True)
class Failed:
    """A job that has no result for good."""

    job: Job
    """The job."""
    problem: Problem
    """What happened the last time."""
    attempts: int
    """How often it was tried."""


def result_of(job: Job, executor: Executor, retries: int) -> object:
    """Return what one job returns. Raises SuiteError if it has no result after all attempts."""
    problem: Problem | None = None
    for _ in range(1 + retries):
        executor.submit(job)
        ended = executor.next()
        if ended.problem is None:
            return ended.value
        problem = ended.problem
        if problem.kind in ("storage", "mistake"):
            break
    assert problem is not None
    raise problem.error()


def carry_out(
    jobs: Sequence[Job],
    executor: Executor,
    *,
    retries: int,
    progress: Progress,
    ended: Callable[[Ended], None],
) -> list[Failed]:
    """Carry out jobs, telling `ended` of each that has a result; return those that failed for good.

    A job whose worker died is tried again as it is, up to `retries` times. A job of several cells that raised
    is done again cell by cell, so that one bad cell takes no other with it; any other job that raised is
    tried up to `retries` times more, but not where the error is a user's, which would come again. Raises
    SuiteError as soon as nothing can be written any more.
    """
    # By identity: executors give back the very job that was submitted.
    attempts: dict[int, int] = {id(job): 0 for job in jobs}
    kept = list(jobs)
    failed: list[Failed] = []
    for job in jobs:
        executor.submit(job)
    waiting = len(jobs)
    while waiting:
        end = executor.next()
        waiting -= 1
        if end.problem is None:
            ended(end)
            continue
        if end.problem.kind == "storage":
            raise end.problem.error()
        attempts[id(end.job)] += 1
        tried = attempts[id(end.job)]
        again = _again(end.job, end.problem, tried, retries)
        if again:
            progress(f"note {_label(end.job)}: {end.problem.words} It is tried again.", 0, 0)
        else:
            progress(f"note {_label(end.job)} failed: {end.problem.words}", 0, 0)
            failed.append(Failed(end.job, end.problem, tried))
        for job, before in again:
            attempts[id(job)] = before
            kept.append(job)
            executor.submit(job)
        waiting += len(again)
    return failed


def _again(job: Job, problem: Problem, tried: int, retries: int) -> list[tuple[Job, int]]:
    """Return the jobs that take the place of one that came to nothing, each with the attempts it has behind
    it; none if the job has failed."""
    if problem.kind == "died" and tried <= retries:
        return [(job, tried)]
    if isinstance(job, (Fit, Judge)) and len(job.cells) > 1:
        # After deaths each cell gets one more chance, alone; after an exception it has all of them.
        before = retries if problem.kind == "died" else 0
        return [(replace(job, cells=(cell,)), before) for cell in job.cells]
    return [(job, tried)] if problem.kind == "raised" and tried <= retries else []


def _label(job: Job) -> str:
    if not job.cells:
        return str(getattr(job, "name", type(job).__name__.lower()))
    first = job.cells[0].label()
    return first if len(job.cells) == 1 else f"{first} and {len(job.cells) - 1} beside it"
