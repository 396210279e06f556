"""A worker in a process of its own: opens a model and does the jobs that it is sent; it chooses nothing."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from das.engine.base.protocol import Engine
from das.engine.engines.resume import ResumeEngine
from das.engine.kept.memory import cache_bytes
from das.methods.registry import methods_in
from das.models.base import TargetModel
from das.models.instrument import Instrument
from das.models.load import target_from
from evaluation.config.target import TargetConfig
from evaluation.records.run_folder import RunFolder
from evaluation.suite.execution.protocol import Job
from evaluation.suite.execution.serial import do_job
from evaluation.suite.execution.worker_state import WorkerState
from ravel.common.progress import Counted, Event, Progress
from ravel.common.signals import stop_on_term

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


@dataclass(frozen=True, slots=True)
class SharedModel:
    """A model whose weights lie in memory that several processes see."""

    model: Any
    """The model."""
    tokenizer: Any
    """Its tokenizer."""
    name: str
    """As its user calls it."""
    instrument: Instrument
    """What it is; worked out once for all processes."""


def state_of(spec: WorkerSpec, shared: SharedModel | None = None) -> WorkerState:
    """Return the state in which the spec's jobs can be done; nothing is opened yet."""

    def open_engine() -> Engine:
        if shared is None:
            return _engine_on(spec.target.load(), spec)
        target = target_from(shared.model, shared.tokenizer, shared.name, instrument=shared.instrument)
        return _engine_on(target, spec)

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


def keeps_no_history(engine: Engine) -> bool:
    """Tell whether an engine gives the same bits whatever it did before: `resume` in float32 on a CPU."""
    target = engine.target
    return engine.name == ResumeEngine.name and target.device.type == "cpu" and target.dtype == torch.float32


def use_threads(threads: int | None) -> None:
    """Let this process use so many processor threads, in torch and in the libraries of linear algebra."""
    if threads is not None:
        # Limits reach only what is loaded, and scikit-learn brings SciPy's linear algebra later.
        import scipy.linalg  # noqa: F401

        torch.set_num_threads(threads)
        threadpool_limits(limits=threads)


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
    # The coordinator is told of Ctrl-C and ends its workers, each after the write in hand.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop_on_term()
    _end_with_parent()
    os.environ.update(environment)
    use_threads(spec.threads)
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


def _end_with_parent() -> None:
    """Let this process end as soon as the one that started it is gone, even by SIGKILL: nothing may go on
    writing into a run that another process has taken up."""
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
