"""Makes the executor that a suite asks for: how many workers, on which devices, with how many threads."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from das.engine.kept.memory import free_bytes
from evaluation.config.execution import ExecutionConfig
from evaluation.config.suite import SuiteConfig
from evaluation.config.target import TargetConfig
from evaluation.records.run_folder import RunFolder
from evaluation.suite.execution.beside import available_processors, shared_model, use_threads
from evaluation.suite.execution.processes import ProcessExecutor, WorkerSlot
from evaluation.suite.execution.protocol import Executor
from evaluation.suite.execution.ray import RayExecutor
from evaluation.suite.execution.serial import SerialExecutor
from evaluation.suite.execution.worker import WorkerSpec, state_of
from ravel.common.errors import SuiteError
from ravel.common.progress import Progress
from ravel.common.sizes import parse_bytes


def executor_for(
    config: SuiteConfig, run: RunFolder, target: TargetConfig, packages: tuple[str, ...], progress: Progress
) -> Executor:
    """Return the executor of a suite, whose methods lie in `packages`; it must be closed.

    Raises SuiteError where the machine lacks what one worker is said to need.
    """
    execution = config.execution
    spec = WorkerSpec(
        run=run.path.absolute(),
        instance=Path(config.instance).absolute() if config.instance else run.instance.absolute(),
        target=target,
        home=Path.cwd(),
        threads=execution.threads,
        sharing=1,
        packages=packages,
    )
    if execution.kind == "serial":
        use_threads(spec.threads)
        return SerialExecutor(state_of(spec), progress)
    if execution.kind == "ray":
        return _ray_executor(spec, execution, progress)
    return _pool(spec, execution, progress)


def _ray_executor(spec: WorkerSpec, execution: ExecutionConfig, progress: Progress) -> RayExecutor:
    return RayExecutor(
        replace(spec, threads=execution.threads or 1),
        progress,
        gpus=execution.gpus or float(spec.target.device.startswith("cuda")),
        memory=None if execution.memory is None else parse_bytes(execution.memory),
        address=execution.address,
        workers=execution.workers,
    )


def _pool(spec: WorkerSpec, execution: ExecutionConfig, progress: Progress) -> ProcessExecutor:
    if spec.target.device == "cpu":
        return _pool_on_processors(spec, execution, progress)
    places = gpus_of_workers(_visible_gpus(), execution.gpus or 1.0)
    if not places:
        raise SuiteError(
            expected=f"GPUs for workers that need {execution.gpus or 1.0:g} each",
            came=f"{len(_visible_gpus())} on this machine",
            todo="lower `gpus` in the suite's execution, or choose --device cpu",
        )
    places = places[: worker_count(execution, len(places))]
    threads = max(1, (execution.threads or available_processors()) // len(places))
    slots = []
    for place in places:
        # A worker sees its own GPUs only, and calls them by their places among these.
        device = "cuda" if len(place) == 1 else "auto"
        target = spec.target.model_copy(update={"device": device})
        own = replace(spec, target=target, threads=threads, sharing=places.count(place))
        slots.append(WorkerSlot(own, {"CUDA_VISIBLE_DEVICES": ",".join(place)}))
    return ProcessExecutor(slots, progress)


def _pool_on_processors(spec: WorkerSpec, execution: ExecutionConfig, progress: Progress) -> ProcessExecutor:
    processors = execution.threads or available_processors()
    count = worker_count(execution, processors)
    shared = shared_model(spec.target.load())
    own = replace(spec, threads=max(1, processors // count), sharing=count)
    home = state_of(replace(spec, threads=None), shared)
    return ProcessExecutor([WorkerSlot(own)] * count, progress, shared, home)


def worker_count(execution: ExecutionConfig, room: int) -> int:
    """Return how many workers to start where there is room for so many: no more than were asked for, and no
    more than fit into free memory. Raises SuiteError if not even one fits."""
    count = execution.workers or room
    if execution.memory is None:
        return count
    fit = free_bytes() // max(1, parse_bytes(execution.memory))
    if fit < 1:
        raise SuiteError(
            expected=f"{execution.memory} of free memory for one worker",
            came=f"{free_bytes() / 2**30:.1f} GiB",
            todo="lower `memory` in the suite's execution, or use a larger machine",
        )
    return min(count, fit)


def gpus_of_workers(gpus: Sequence[str], each: float) -> list[tuple[str, ...]]:
    """Return for every worker that there is room for the GPUs it sees, if each needs `each` of them.

    Below 1 several workers share a GPU; from 1 on a worker has whole ones, rounded up.
    """
    if each < 1:
        return [(gpu,) for gpu in gpus for _ in range(math.floor(1 / each))]
    size = math.ceil(each)
    return [tuple(gpus[start : start + size]) for start in range(0, len(gpus) - size + 1, size)]


def _visible_gpus() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip()]
    return [str(index) for index in range(torch.cuda.device_count())]
