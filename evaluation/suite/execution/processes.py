"""Jobs in a pool of processes on this machine: who gets which job next, and what a death means."""

from __future__ import annotations

import multiprocessing
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from das.sites import Site
from evaluation.suite.execution.beside import SharedModel, script_left_out
from evaluation.suite.execution.protocol import Job, JobError, JobResult
from evaluation.suite.execution.serial import do_job
from evaluation.suite.execution.worker import WorkerSpec, serve
from evaluation.suite.execution.worker_state import WorkerState
from ravel.common.progress import Progress

_SECONDS_TO_END = 10.0
"""How long a worker may take to finish the write in hand before it is killed."""


@dataclass(frozen=True, slots=True)
class WorkerSlot:
    """Where one worker works."""

    spec: WorkerSpec
    """What it opens."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables that it gets besides those of this process: which GPUs it sees."""


@dataclass(slots=True)
class _Worker:
    """A slot and the process in it, if one was started."""

    slot: WorkerSlot
    process: SpawnProcess | None = None
    connection: Connection | None = None
    job: Job | None = None
    began: float = 0.0
    site: Site | None = None


class ProcessExecutor:
    """A pool of processes. Each has its own copy of the model or, on a CPU, all look at the same weights.

    With `home`, jobs that keep all processors at work by themselves are done in this process.
    """

    def __init__(
        self,
        slots: list[WorkerSlot],
        progress: Progress,
        shared: SharedModel | None = None,
        home: WorkerState | None = None,
    ) -> None:
        self._home = home
        self._workers = [_Worker(slot) for slot in slots]
        self._progress = progress
        self._shared = shared
        self._waiting: deque[Job] = deque()

    def pids(self) -> list[int]:
        """Return the ids of the processes that are running."""
        return [w.process.pid for w in self._workers if w.process is not None and w.process.pid is not None]

    def submit(self, job: Job) -> None:
        """Put the job in line."""
        self._waiting.append(job)

    def next(self) -> JobResult:
        """Give every idle worker a job, and wait until one has ended; one for this process is done first."""
        own = next((job for job in self._waiting if job.divides_itself), None)
        if own is not None and self._home is not None:
            self._waiting.remove(own)
            return do_job(self._home, own, self._progress)
        while True:
            self._fill()
            busy = [worker for worker in self._workers if worker.job is not None]
            assert busy, "nothing was submitted"
            ready = wait([worker.connection for worker in busy if worker.connection is not None])
            for worker in busy:
                if worker.connection in ready and (ended := self._heard(worker)) is not None:
                    return ended

    def close(self) -> None:
        """Ask every worker to stop, and kill those that do not."""
        for worker in self._workers:
            if worker.process is not None:
                worker.process.terminate()
        limit = time.monotonic() + _SECONDS_TO_END
        for worker in self._workers:
            if worker.process is not None:
                worker.process.join(max(0.0, limit - time.monotonic()))
                self._bury(worker)

    def _fill(self) -> None:
        for worker in self._workers:
            if worker.job is None and self._waiting:
                job = self._best_for(worker)
                if worker.process is None:
                    self._start(worker)
                assert worker.connection is not None
                worker.job, worker.began = job, time.monotonic()
                worker.site = job.site or worker.site
                # A death is noticed where the end is waited for.
                with suppress(BrokenPipeError):
                    worker.connection.send(job)
        # One ahead: it opens its libraries while others do the jobs that come before the cells.
        spare = next((worker for worker in self._workers if worker.job is None), None)
        if spare is not None and spare.process is None:
            self._start(spare)

    def _best_for(self, worker: _Worker) -> Job:
        """Take out of the line a job at the site whose states the worker has kept, or else one at a site that
        no other worker is at, or else the first."""
        taken = {other.site for other in self._workers if other is not worker and other.job is not None}
        for wanted in (lambda job: job.site == worker.site, lambda job: job.site not in taken):
            for job in self._waiting:
                if wanted(job):
                    self._waiting.remove(job)
                    return job
        return self._waiting.popleft()

    def _start(self, worker: _Worker) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        worker.process = context.Process(
            target=serve,
            args=(theirs, worker.slot.spec, self._shared, worker.slot.environment),
            daemon=True,
        )
        with script_left_out():
            worker.process.start()
        theirs.close()
        worker.connection = ours

    def _heard(self, worker: _Worker) -> JobResult | None:
        """Take one message of a worker; return how its job ended, if that is what it says."""
        assert worker.connection is not None
        try:
            kind, content = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            return self._died(worker)
        if kind == "progress":
            self._progress(content)
            return None
        ended: JobResult = content
        # The very object that was submitted, so that it can be told by identity.
        return replace(ended, job=self._done(worker))

    def _done(self, worker: _Worker) -> Job:
        job = worker.job
        assert job is not None
        worker.job = None
        return job

    def _died(self, worker: _Worker) -> JobResult:
        assert worker.process is not None
        worker.process.join()
        code, pid = worker.process.exitcode, worker.process.pid
        self._bury(worker)
        return JobResult(
            self._done(worker), None, JobError("died", _death(code, pid)), time.monotonic() - worker.began
        )

    def _bury(self, worker: _Worker) -> None:
        if worker.process is not None and worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        if worker.connection is not None:
            worker.connection.close()
        worker.process, worker.connection, worker.site = None, None, None


def _death(code: int | None, pid: int | None) -> str:
    if code is not None and code < 0:
        hint = " (the system may have been out of memory)" if -code == 9 else ""
        return f"Worker process {pid} was ended by signal {-code}{hint}."
    return f"Worker process {pid} ended with exit code {code}."
