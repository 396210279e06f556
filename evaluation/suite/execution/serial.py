"""Jobs one after the other, in this process."""

from __future__ import annotations

import time
from collections import deque

from evaluation.suite.execution.protocol import Job, JobResult, job_error
from evaluation.suite.execution.worker_state import WorkerState
from ravel.common.progress import Progress


class SerialExecutor:
    """Does a job when its end is waited for."""

    def __init__(self, state: WorkerState, progress: Progress) -> None:
        self._state = state
        self._progress = progress
        self._waiting: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        """Put the job at the end of the line."""
        self._waiting.append(job)

    def next(self) -> JobResult:
        """Do the next job."""
        return do_job(self._state, self._waiting.popleft(), self._progress)

    def close(self) -> None:
        """Do nothing: there are no workers."""


def do_job(state: WorkerState, job: Job, progress: Progress) -> JobResult:
    """Do a job and return how it ended; only an interruption comes through."""
    began = time.monotonic()
    try:
        state.begin_job(progress)
        value = job.work(state, progress)
    except Exception as error:
        return JobResult(job, None, job_error(error), time.monotonic() - began)
    return JobResult(job, value, None, time.monotonic() - began)
