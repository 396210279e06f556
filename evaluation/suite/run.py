"""A suite from config to tables: plan, fit, choose on validation, open the test splits once, write. Resumable
throughout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from das.engine.base.protocol import Engine
from das.methods.common.base import Method
from das.methods.registry import METHODS
from das.models.placing import AUTO, device_named, dtype_named
from das.sites import Site
from evaluation.config.preset import Preset, preset_named
from evaluation.config.suite import PROFILE, SuiteBuild, SuiteConfig
from evaluation.config.target import TargetConfig
from evaluation.records.failures import FAILURES, Failure, write_failures
from evaluation.records.lock import run_lock
from evaluation.records.run_folder import RunFolder
from evaluation.report.published import beside_published, published_markdown
from evaluation.suite.begin import begin_run
from evaluation.suite.execution.executors import executor_for
from evaluation.suite.execution.protocol import Executor
from evaluation.suite.execution.serial import SerialExecutor
from evaluation.suite.execution.steps import Steps
from evaluation.suite.execution.worker_state import WorkerState
from evaluation.suite.finish import RunSummary, finish
from evaluation.suite.folders import with_dtype_of
from evaluation.suite.grid import Cell, ChosenCells, narrowed
from evaluation.suite.select import kept_sites, select, tested
from evaluation.tracks import track_of
from ravel.common.errors import SuiteError
from ravel.common.io import write_text
from ravel.common.progress import Note, Progress, silent
from ravel.common.registry import Registry
from ravel.instance import Instance

__all__ = ["RunRequest", "RunSummary", "run_suite"]


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run, as a user asks for it."""

    config: SuiteConfig
    """The suite."""
    out: Path
    """Folder of the run; a run of the same suite that is there is gone on with."""
    target: TargetConfig | None = None
    """How the model is opened; None: as the suite says."""
    preset: str | None = None
    """The preset that the suite comes from: a suite without an instance is run on one that is built as the
    preset says, and where figures were published, `tables/published.md` lays ours beside them."""
    engine: Engine | None = None
    """A model that is open in this process: the cells are carried out on it, one after the other, and the
    suite's `model` and kind of `execution` are not read."""
    instance: Instance | None = None
    """With `engine`: an instance in memory; the suite's `instance` and `build` are not read."""
    methods: Registry[type[Method]] = METHODS
    """Where methods are looked up: a registry whose packages every worker can import."""
    data: str | None = None
    """Where the preset's facts come from, if not from where it says; as `ravel build --data` takes it."""


def run_suite(request: RunRequest, progress: Progress = silent) -> RunSummary:
    """Run a suite in a folder, or go on with it there, carried out as its `execution` says.

    Raises SuiteError for anything wrong with the config, the instance, the model or the folder, before a file
    is written, and where another process works on the folder. After an interruption the same call goes on
    where it stopped; finished cells keep their bytes. A cell that fails is tried again as often as
    `execution.retries` says and then left out; `failures` of the summary names it.
    """
    preset = None if request.preset is None else preset_named(request.preset)
    run = RunFolder(request.out)
    config = _in_one_dtype(_with_build(request, preset), run)
    # Before a model is loaded: a name that is unknown is found at once.
    track_of(config)
    with closing(_executor(request, config, run, progress)) as executor:
        run.refuse_foreign_files()
        with run_lock(run.path):
            steps, cells = begin_run(config, run, request.instance, executor, request.methods, progress)
            summary = _carry_out(steps, cells)
    if preset is not None and preset.published:
        rows = beside_published(preset, summary.scores, summary.averages)
        write_text(run.tables / "published.md", published_markdown(preset, rows))
    return summary


def _with_build(request: RunRequest, preset: Preset | None) -> SuiteConfig:
    """Return the suite, told how to build its instance where a preset says how and it names none."""
    config = request.config
    if preset is not None and not config.instance:
        data = request.data or preset.data
        build = SuiteBuild(entity_type=preset.entity_type, data=data, settings=preset.build)
        config = config.model_copy(update={"build": build})
    if request.instance is None and bool(config.instance) == (config.build is not None):
        raise SuiteError(
            expected="a suite that names an `instance` or says how to `build` one",
            came="both" if config.instance else "neither",
            todo="write `instance: FOLDER`, or for example `build: {entity_type: city}`",
        )
    return config


def _in_one_dtype(config: SuiteConfig, run: RunFolder) -> SuiteConfig:
    """Return the suite with its dtype settled, once for all workers and whoever goes on with the run."""
    if run.config.is_file():
        config = with_dtype_of(config, run.path)
    elif config.instance:
        config = with_dtype_of(config, Path(config.instance))
    if config.dtype != AUTO:
        return config
    dtype = dtype_named(AUTO, device_named(config.device))
    return config.model_copy(update={"dtype": str(dtype).removeprefix("torch.")})


def _executor(request: RunRequest, config: SuiteConfig, run: RunFolder, progress: Progress) -> Executor:
    """Return what carries out the jobs; it must be closed."""
    if request.engine is None:
        if request.instance is not None:
            raise SuiteError(
                expected="an instance in memory together with an engine, for workers read it from a folder",
                came="no engine",
                todo="give RunRequest an `engine` too, or name the instance's folder in the suite",
            )
        target = request.target or config.target()
        if target.dtype == AUTO:
            target = target.model_copy(update={"dtype": config.dtype})
        return executor_for(config, run, target, request.methods.packages, progress)
    engine, folder = request.engine, Path(config.instance) if config.instance else run.instance
    instance = folder if request.instance is None else request.instance
    return SerialExecutor(WorkerState(run, lambda: engine, request.methods, instance=instance), progress)


def _carry_out(steps: Steps, cells: Sequence[Cell]) -> RunSummary:
    """Fit, choose, open the test splits, sum up; the jobs of each step are the executor's.

    Nothing here runs a model, and until points are chosen no instance in hand holds the test splits.
    """
    context, config = steps.context, steps.config
    cells, failures = _at_kept_sites(steps, cells)
    failures += steps.fit(cells)
    fitted = _fitted(steps, cells, failures)
    chosen = select(fitted, context.without_test(), config)
    failures += steps.judge(tested(fitted, chosen, context.track))
    fitted, chosen = _left(fitted, failures), _left_chosen(chosen, failures)
    controls, failed = steps.control(chosen)
    failures = sorted([*failures, *failed], key=lambda failure: (failure.cell, failure.stage))
    return finish(fitted, chosen, context, config, controls, failures)


def _at_kept_sites(steps: Steps, cells: Sequence[Cell]) -> tuple[Sequence[Cell], list[Failure]]:
    """Return the cells to go on with, once the profile has told which sites are kept, and what failed."""
    context, config = steps.context, steps.config
    if config.keep_sites is None:
        return cells, []
    profile = [cell for cell in cells if cell.method == PROFILE]
    failures = steps.fit(profile)
    kept = kept_sites(_fitted(steps, profile, failures), context.without_test(), config)
    steps.progress(Note(_kept_words(kept, config, context.track.criterion_of(PROFILE))))
    return _left(narrowed(cells, kept), failures), failures


def _kept_words(kept: Mapping[str, Mapping[Site, float]], config: SuiteConfig, measure: str) -> str:
    """Say which sites are kept, and by what; for each attribute where they differ."""
    said = {a: ", ".join(f"{site} ({value:.2f})" for site, value in own.items()) for a, own in kept.items()}
    by = f"the {measure} of {PROFILE}" if config.site_search == PROFILE else "shares of transport"
    alike = len(set(said.values())) == 1
    listed = next(iter(said.values())) if alike else "; ".join(f"{a}: {own}" for a, own in said.items())
    return f"sites kept of {len(config.sites)}, by {by}: {listed}"


def _fitted(steps: Steps, cells: Sequence[Cell], failures: Sequence[Failure]) -> list[Cell]:
    """Return the cells that did not fail; where all did, write that down and raise SuiteError."""
    fitted = _left(cells, failures)
    if not fitted:
        write_failures(steps.context.run.path, failures)
        raise SuiteError(
            expected="at least one cell of the suite to come to a result",
            came=f"{len(failures)} that failed, the first ({failures[0].label()}) with: "
            f"{failures[0].error.rstrip('.')}",
            todo=f"see {FAILURES} in the run, mend what it says and run the same command again",
        )
    return fitted


def _left(cells: Sequence[Cell], failures: Sequence[Failure]) -> list[Cell]:
    failed = {failure.cell for failure in failures}
    return [cell for cell in cells if cell.cell_id not in failed]


def _left_chosen(chosen: ChosenCells, failures: Sequence[Failure]) -> ChosenCells:
    left = {key: _left(group, failures) for key, group in chosen.items()}
    return {key: group for key, group in left.items() if group}
