"""Jobs as tasks of a Ray cluster; the only file that knows Ray.

Every node must have the suite installed and see the run's folder under the same path. A task's result lies in
that folder; what travels back is only how it ended.
"""

from __future__ import annotations

import os
import socket
import time
from functools import lru_cache
from typing import Any

from evaluation.records.lock import LOCK_FILE
from evaluation.suite.execution.beside import use_threads
from evaluation.suite.execution.protocol import Job, JobError, JobResult, job_error
from evaluation.suite.execution.serial import do_job
from evaluation.suite.execution.worker import WorkerSpec, state_of, throttled
from evaluation.suite.execution.worker_state import WorkerState
from ravel.common.errors import SuiteError
from ravel.common.progress import Event, Progress
from ravel.common.registry.plugins import PLUGINS_VARIABLE, plugin_files

_SECONDS_BETWEEN_LOOKS = 0.5


class RayExecutor:
    """Sends every job to the cluster at once; Ray finds a node with room for it."""

    def __init__(
        self,
        spec: WorkerSpec,
        progress: Progress,
        *,
        gpus: float = 0.0,
        memory: int | None = None,
        address: str | None = None,
        workers: int | None = None,
    ) -> None:
        """Connect to the cluster. Raises SuiteError if Ray is not installed or no cluster answers.

        A task takes `spec.threads` processors, `gpus` GPUs and `memory` bytes; no more than `workers` run at
        once.
        """
        self._ray = _ray()
        self._owner = not self._ray.is_initialized()
        if self._owner:
            _connect(self._ray, address)
        self._spec = spec
        self._progress = progress
        self._most = workers
        self._waiting: list[Job] = []
        self._running: dict[Any, tuple[Job, float]] = {}
        options: dict[str, Any] = {"num_cpus": spec.threads or 1, "num_gpus": gpus, "max_retries": 0}
        if memory is not None:
            options["memory"] = memory
        if files := plugin_files():
            # The cluster may have been started without them.
            named = os.pathsep.join(map(str, files))
            options["runtime_env"] = {"env_vars": {PLUGINS_VARIABLE: named}}
        self._task = self._ray.remote(_do).options(**options)
        self._reports = self._new_reports()

    def submit(self, job: Job) -> None:
        """Send the job to the cluster, or keep it until there is room."""
        self._waiting.append(job)

    def next(self) -> JobResult:
        """Wait until a task has ended, passing on what tasks report."""
        while True:
            self._send()
            done, _ = self._ray.wait(list(self._running), timeout=_SECONDS_BETWEEN_LOOKS)
            self._pass_on()
            if done:
                return self._ended(done[0])

    def _pass_on(self) -> None:
        """Pass on what tasks have reported. What was reported to a node that is gone is lost: words, no
        results; tasks that are sent from then on report to another one."""
        try:
            reports = self._ray.get(self._reports.take.remote())
        except self._ray.exceptions.RayActorError:
            self._reports = self._new_reports()
            return
        for report in reports:
            self._progress(report)

    def _new_reports(self) -> Any:
        # On this node where it can be, so that the loss of another one loses no report.
        here = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            self._ray.get_runtime_context().get_node_id(), soft=True
        )
        return self._ray.remote(_Reports).options(num_cpus=0, scheduling_strategy=here).remote()

    def close(self) -> None:
        """Cancel what is running, and leave the cluster if it was joined here."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._running = {}
        if self._owner:
            self._ray.shutdown()

    def _send(self) -> None:
        while self._waiting and (self._most is None or len(self._running) < self._most):
            job = self._waiting.pop(0)
            reference = self._task.remote(self._spec, job, self._reports)
            self._running[reference] = (job, time.monotonic())

    def _ended(self, reference: Any) -> JobResult:
        job, began = self._running.pop(reference)
        try:
            value, error, seconds = self._ray.get(reference)
        except self._ray.exceptions.RayError as gone:
            words = f"The task's worker is gone: {' '.join(str(gone).split())[:500]}"
            return JobResult(job, None, JobError("died", words), time.monotonic() - began)
        return JobResult(job, value, error, seconds)


class _Reports:
    """Keeps what tasks report until the coordinator takes it."""

    def __init__(self) -> None:
        self._kept: list[Event] = []

    def put(self, report: Event) -> None:
        """Keep a report."""
        self._kept.append(report)

    def take(self) -> list[Event]:
        """Return what was kept, once."""
        kept, self._kept = self._kept, []
        return kept


def _do(spec: WorkerSpec, job: Job, reports: Any) -> tuple[object, JobError | None, float]:
    """Do a job in a worker process of the cluster; what was opened is kept for the next task that comes."""
    if not (spec.run / LOCK_FILE).is_file():
        host = socket.gethostname()
        missing = SuiteError(
            expected=f"the folder of the run, {spec.run}, on every node",
            came=f"none on {host}",
            todo="give --out a folder on storage that all nodes share under the same path",
        )
        return None, job_error(missing), 0.0
    if spec.home.is_dir():
        os.chdir(spec.home)
    use_threads(spec.threads)
    progress = throttled(lambda event: reports.put.remote(event))
    ended = do_job(_state(spec.run.as_posix(), spec), job, progress)
    return ended.value, ended.error, ended.seconds


@lru_cache(maxsize=1)
def _state(run: str, spec: WorkerSpec) -> WorkerState:
    # Kept for the life of the process: to load a model for every task would cost more than the task.
    return state_of(spec)


def _ray() -> Any:
    try:
        import ray
        import ray.exceptions
        import ray.util.scheduling_strategies
    except ImportError:
        raise SuiteError(
            expected="Ray, for the suite is to be carried out on a Ray cluster",
            came="an environment without it",
            todo='install it with pip install "ravel-bench[cluster]", or choose --execution processes',
        ) from None
    return ray


def _connect(ray: Any, address: str | None) -> None:
    where = address or os.environ.get("RAY_ADDRESS")
    try:
        ray.init(address=where, log_to_driver=True, include_dashboard=None if where else False)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise SuiteError(
            expected=f"a Ray cluster at {where}" if where else "to start a Ray cluster on this machine",
            came=" ".join(str(error).split())[:300],
            todo="start one with `ray start --head`, check the address, or choose --execution processes",
        ) from None
