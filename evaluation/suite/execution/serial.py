"""Jobs one after the other, in this process."""

from __future__ import annotations

import time
from collections import deque

from evaluation.suite.execution.desk import Desk
from evaluation.suite.execution.jobs import Job
from evaluation.suite.execution.protocol import Ended, problem_of
from ravel.common.progress import Progress

__all__ = ["SerialExecutor", "done_at"]


class SerialExecutor:
    """Does a job when its end is waited for."""

    def __init__(self, desk: Desk, progress: Progress) -> None:
        self._desk = desk
        self._progress = progress
        self._waiting: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        """Put the job at the end of the line."""
        self._waiting.append(job)

    def next(self) -> Ended:
        """Do the next job."""
        return done_at(self._desk, self._waiting.popleft(), self._progress)

    def close(self) -> None:
        """Do nothing: there are no workers."""


def done_at(desk: Desk, job: Job, progress: Progress) -> Ended:
    """Do a job at a desk and return how it ended; only an interruption comes through."""
    began = time.monotonic()
    try:
        desk.begin_job(progress)
        value = job.work(desk, progress)
    except Exception as error:
        return Ended(job, None, problem_of(error), time.monotonic() - began)
    return Ended(job, value, None, time.monotonic() - began)
