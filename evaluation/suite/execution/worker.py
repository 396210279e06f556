"""A worker in a process of its own: opens a model and does the jobs that it is sent; it chooses nothing."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from das.engine.base.protocol import Engine
from das.engine.kept.memory import cache_bytes
from das.methods.registry import methods_in
from das.models.base import TargetModel
from evaluation.config.target import TargetConfig
from evaluation.records.run_folder import RunFolder
from evaluation.suite.execution.beside import SharedModel, begin_process, keeps_no_history
from evaluation.suite.execution.protocol import Job
from evaluation.suite.execution.serial import do_job
from evaluation.suite.execution.worker_state import WorkerState
from ravel.common.progress import Counted, Event, Progress

_SECONDS_BETWEEN_REPORTS = 0.25


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What a worker must know to open a model and a run."""

    run: Path
    """The run's folder, absolute."""
    instance: Path
    """The instance that the suite names, absolute; the run's own copy is read where there is one."""
    target: TargetConfig
    """The model and its engine."""
    home: Path
    """The coordinator's working folder, which relative paths of the suite start from."""
    threads: int | None
    """Processor threads of one worker; None leaves the library's default."""
    sharing: int
    """How many workers share the memory in which states are kept."""
    packages: tuple[str, ...]
    """Where methods are looked up."""


def state_of(spec: WorkerSpec, shared: SharedModel | None = None) -> WorkerState:
    """Return the state in which the spec's jobs can be done; nothing is opened yet."""

    def open_engine() -> Engine:
        if shared is None:
            return _engine_on(spec.target.load(), spec)
        return _engine_on(shared.target(), spec)

    def renew(engine: Engine) -> Engine:
        return engine if keeps_no_history(engine) else _engine_on(engine.target, spec)

    run, methods = RunFolder(spec.run), methods_in(spec.packages)
    return WorkerState(run, open_engine, methods, instance=spec.instance, renew=renew)


def _engine_on(loaded: TargetModel, spec: WorkerSpec) -> Engine:
    """Return the worker's engine, with its share of the memory in which states may be kept."""
    if spec.sharing == 1:
        return spec.target.engine_on(loaded)
    own = cache_bytes(spec.target.cache_memory, loaded.device) // spec.sharing
    return spec.target.model_copy(update={"cache_memory": str(own)}).engine_on(loaded)


def throttled(send: Progress) -> Progress:
    """Return a progress that passes on what is new, and of one stage no more than a few reports a second."""
    last: dict[str, float] = {}

    def progress(event: Event) -> None:
        if isinstance(event, Counted):
            now = time.monotonic()
            if event.done < event.total and now - last.get(event.stage, -1.0) < _SECONDS_BETWEEN_REPORTS:
                return
            last.clear()
            last[event.stage] = now
        send(event)

    return progress


def serve(
    connection: Connection, spec: WorkerSpec, shared: SharedModel | None, environment: dict[str, str]
) -> None:
    """Do the jobs that come over the connection until it says None; the body of a worker process."""
    os.environ.update(environment)
    begin_process(spec.threads)
    state = state_of(spec, shared)
    progress = throttled(lambda event: connection.send(("progress", event)))
    try:
        while (job := _received(connection)) is not None:
            connection.send(("ended", do_job(state, job, progress)))
    except (KeyboardInterrupt, BrokenPipeError, EOFError):
        return


def _received(connection: Connection) -> Job | None:
    job: Job | None = connection.recv()
    return job
