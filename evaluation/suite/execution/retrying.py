"""Carries out jobs until each has a result or has failed for good: what is tried again, and how often."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evaluation.suite.execution.protocol import Executor, Job, JobError, JobResult
from ravel.common.progress import Note, Progress


@dataclass(frozen=True, slots=True)
class Failed:
    """A job that has no result for good."""

    job: Job
    """The job."""
    error: JobError
    """What happened the last time."""
    attempts: int
    """How often it was tried."""


def result_of(job: Job, executor: Executor, retries: int) -> object:
    """Return what one job returns. Raises SuiteError if it has no result after all attempts."""
    error: JobError | None = None
    for _ in range(1 + retries):
        executor.submit(job)
        result = executor.next()
        if result.error is None:
            return result.value
        error = result.error
        if error.kind in ("storage", "mistake"):
            break
    assert error is not None
    raise error.error()


def carry_out(
    jobs: Sequence[Job],
    executor: Executor,
    *,
    retries: int,
    progress: Progress,
    ended: Callable[[JobResult], None],
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
        result = executor.next()
        waiting -= 1
        job, error = result.job, result.error
        if error is None:
            ended(result)
            continue
        if error.kind == "storage":
            raise error.error()
        attempts[id(job)] += 1
        again = _again(job, error, attempts[id(job)], retries)
        if again:
            progress(Note(f"{job.label()}: {error.words} It is tried again."))
        else:
            progress(Note(f"{job.label()} failed: {error.words}"))
            failed.append(Failed(job, error, attempts[id(job)]))
        for next_job, before in again:
            attempts[id(next_job)] = before
            kept.append(next_job)
            executor.submit(next_job)
        waiting += len(again)
    return failed


def _again(job: Job, error: JobError, tried: int, retries: int) -> list[tuple[Job, int]]:
    """Return the jobs that take the place of one that came to nothing, each with the attempts it has behind
    it; none if the job has failed."""
    if error.kind == "died" and tried <= retries:
        return [(job, tried)]
    if apart := job.apart():
        # After deaths each cell gets one more chance, alone; after an exception it has all of them.
        before = retries if error.kind == "died" else 0
        return [(part, before) for part in apart]
    return [(job, tried)] if error.kind == "raised" and tried <= retries else []
