"""Begins a run in a folder, or goes on with it there if it is the same run; nothing is fitted here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from das.methods.common.base import Method
from evaluation.config.suite import FREE, GROWING, SuiteConfig
from evaluation.records.run_folder import RunFolder
from evaluation.suite.cells.context import RunContext
from evaluation.suite.execution.jobs import BuildJob, DescribeJob, PrepareJob
from evaluation.suite.execution.protocol import Executor
from evaluation.suite.execution.retrying import result_of
from evaluation.suite.execution.steps import Steps
from evaluation.suite.execution.worker_state import WorkerInfo
from evaluation.suite.grid import Cell, check_splits, plan_cells, resolve
from evaluation.suite.grid.model_info import ModelInfo
from evaluation.tracks import track_of
from ravel.common.errors import SuiteError
from ravel.common.progress import Note, Progress
from ravel.common.registry import Registry
from ravel.instance import Instance

_NAMED_ORPHANS = 5


def begin_run(
    config: SuiteConfig,
    run: RunFolder,
    instance: Instance | None,
    executor: Executor,
    methods: Registry[type[Method]],
    progress: Progress,
) -> tuple[Steps, tuple[Cell, ...]]:
    """Return the steps of a run and the cells of its grid, once all that can be wrong with them is checked
    and the folder holds the resolved config, the instance and the environment.

    Without an instance it is the one that the config names or says how to build.
    """
    retries = config.execution.retries
    model = result_of(DescribeJob(), executor, retries)
    assert isinstance(model, ModelInfo)
    if instance is None:
        instance = _instance(config, run, executor)
    config = resolve(config, instance, model, methods=methods)
    cells = plan_cells(config, instance, model, methods=methods)
    check_splits(config, instance)
    worker = result_of(PrepareJob(config), executor, retries)
    assert isinstance(worker, WorkerInfo)
    context = RunContext(instance, model, run, track_of(config), config.judging(), methods)
    _open_folder(config, context, cells, worker.environment)
    if worker.cache is not None:
        progress(Note(f"cache: {worker.cache}"))
    return Steps(context, config, executor, progress), cells


def _instance(config: SuiteConfig, run: RunFolder, executor: Executor) -> Instance:
    """Return the instance that the suite names, or the one that it says how to build."""
    if config.build is None:
        return Instance.load(Path(config.instance))
    build = config.build
    job = BuildJob(build.data, build.entity_type, build.settings)
    result_of(job, executor, config.execution.retries)
    return Instance.load(run.instance)


def _open_folder(
    config: SuiteConfig, context: RunContext, cells: Sequence[Cell], environment: Mapping[str, Any]
) -> None:
    run, instance = context.run, context.instance
    fingerprints = {
        "instance_fingerprint": instance.fingerprint,
        "model_fingerprint": context.target.fingerprint,
    }
    known = {cell.cell_id for cell in cells}
    orphans = [header for header in run.finished_cells() if header.get("cell") not in known]
    # What no finished cell came from may also be taken out again: a method that failed, say.
    free = FREE if orphans else (*FREE, *GROWING)
    try:
        run.open(config, fingerprints=fingerprints, growing=GROWING, free=free)
    except SuiteError as refusal:
        raise _with_orphans(refusal, orphans) from None
    run.record_environment(fingerprints, environment)
    if not run.instance.exists():
        instance.save(run.instance)


def _with_orphans(refusal: SuiteError, orphans: Sequence[dict[str, Any]]) -> SuiteError:
    """Add to a refused config which finished cells, by their headers, it would leave behind."""
    if not orphans:
        return refusal
    names = [
        f"{h.get('method')} {h.get('attribute')} {h.get('site')} size {h.get('size')} seed {h.get('seed')}"
        for h in orphans[:_NAMED_ORPHANS]
    ]
    more = f" and {len(orphans) - len(names)} more" if len(orphans) > len(names) else ""
    return SuiteError(
        expected=refusal.expected,
        came=f"{refusal.came}; finished cells that no longer belong: {', '.join(names)}{more}",
        todo=refusal.todo,
    )
