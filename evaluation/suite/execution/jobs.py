"""The pieces that a run is cut into: plain values that can be sent to another process; they hold no state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

from das.engine.engines.resume import ResumeEngine
from das.environment import describe_numerics
from das.sites import Site
from evaluation.config.suite import SuiteConfig
from evaluation.records.environment import describe_environment
from evaluation.suite.cells.fit import judge_cell, run_cells
from evaluation.suite.control_runs.carry_out import run_control
from evaluation.suite.execution.build_in_run import build_in_run
from evaluation.suite.execution.protocol import Job
from evaluation.suite.execution.worker_state import WorkerInfo, WorkerState
from evaluation.suite.forecast.cache import planned_cache
from evaluation.suite.grid import Cell
from evaluation.suite.grid.model_info import ModelInfo
from evaluation.tracks import track_of
from ravel.building.config import BuildConfig
from ravel.common.progress import Progress, counting
from ravel.facts.sources import open_tables


@dataclass(frozen=True, slots=True)
class _Named:
    """A job whose class says what is done."""

    @property
    def stage(self) -> str:
        """The class's name without `Job`."""
        return type(self).__name__.removesuffix("Job").lower()

    @property
    def divides_itself(self) -> bool:
        """False, but for builds."""
        return False


@dataclass(frozen=True, slots=True)
class _WholeRun(_Named):
    """A job that is about the run as a whole: it has no site and no cells of the grid, and is not divided."""

    @property
    def site(self) -> Site | None:
        """None: no site of its own."""
        return None

    @property
    def cells(self) -> tuple[Cell, ...]:
        """None of the grid's."""
        return ()

    def label(self) -> str:
        """Return what is done."""
        return self.stage

    def apart(self) -> Sequence[Job]:
        """Return none."""
        return ()


@dataclass(frozen=True, slots=True)
class DescribeJob(_WholeRun):
    """Open the model and say what it is."""

    def work(self, state: WorkerState, progress: Progress) -> ModelInfo:
        """Return what a plan must know of it."""
        return ModelInfo.of(state.engine.target)


@dataclass(frozen=True, slots=True)
class BuildJob(_WholeRun):
    """Build the instance inside the run's folder."""

    data: str
    """Where the facts come from."""
    entity_type: str
    """The entity type."""
    settings: Mapping[str, Any]
    """Settings of the build."""

    @property
    def divides_itself(self) -> bool:
        """True: see `dividing`."""
        return True

    def work(self, state: WorkerState, progress: Progress) -> None:
        """Build and save it; one that is there must have been built with the same settings."""
        config = BuildConfig.from_mapping(dict(self.settings), origin="the suite's build")
        tables = partial(open_tables, self.data, self.entity_type)
        build_in_run(state.run, tables, state.answerer, config, progress)


@dataclass(frozen=True, slots=True)
class PrepareJob(_WholeRun):
    """Say what the worker's numbers depend on."""

    config: SuiteConfig
    """The resolved suite."""

    def work(self, state: WorkerState, progress: Progress) -> WorkerInfo:
        """Return the worker's environment and what its engine will keep."""
        engine, config = state.engine, self.config
        # What the model or the engine can't judge by is refused before the run's folder is opened.
        track_of(config).judge(engine, config.judging())
        cached = engine.name == ResumeEngine.name
        cache = planned_cache(config, state.instance, engine.target) if cached else None
        environment = describe_environment(
            device=config.device,
            dtype=config.dtype,
            engine=engine.name,
            cache=None if cache is None else cache.choice,
            numerics=describe_numerics(),
        )
        return WorkerInfo(environment, None if cache is None else cache.text())


@dataclass(frozen=True, slots=True)
class CollectJob(_WholeRun):
    """Read every prompt at every site once, for all fits that look at vectors."""

    sites: tuple[Site, ...]
    """The sites."""

    def work(self, state: WorkerState, progress: Progress) -> None:
        """Write the vectors into the run's `shared/`, if they are not there."""
        state.with_vectors(self.sites, counting(progress, "activations"))


@dataclass(frozen=True, slots=True)
class ControlJob(_WholeRun):
    """Fit, judge and floor one control at the chosen points."""

    name: str
    """The control."""
    points: Mapping[tuple[str, str], Cell]
    """The controlled cells of the grid, by (method, attribute)."""

    def label(self) -> str:
        """Return the control's name."""
        return self.name

    def work(self, state: WorkerState, progress: Progress) -> None:
        """Write the control's cells and floors."""
        run_control(self.name, self.points, state.context(), state.config, progress)


@dataclass(frozen=True, slots=True)
class _OfCells(_Named):
    """A job on cells of the grid that lie at one site."""

    cells: tuple[Cell, ...]
    """The cells."""
    splits: tuple[str, ...]
    """Splits to judge them on."""

    @property
    def site(self) -> Site | None:
        """The cells' site."""
        return self.cells[0].site

    def label(self) -> str:
        """Name the first cell, and say how many there are beside it."""
        first, beside = self.cells[0].label(), len(self.cells) - 1
        return f"{first} and {beside} beside it" if beside else first

    def apart(self) -> Sequence[Self]:
        """Return a job per cell; none if there is one already."""
        return [replace(self, cells=(cell,)) for cell in self.cells] if len(self.cells) > 1 else []


@dataclass(frozen=True, slots=True)
class FitJob(_OfCells):
    """Fit cells side by side and judge them on validation pairs; the test splits stay closed."""

    vector_sites: tuple[Site, ...]
    """Sites whose vectors were collected."""

    def work(self, state: WorkerState, progress: Progress) -> None:
        """Write the cells' folders."""
        context = state.with_vectors(self.vector_sites) if self.vector_sites else state.context()
        run_cells(self.cells, context.without_test(), self.splits, progress)


@dataclass(frozen=True, slots=True)
class JudgeJob(_OfCells):
    """Judge fitted cells, on test pairs as well."""

    def work(self, state: WorkerState, progress: Progress) -> None:
        """Write the outcomes that are missing."""
        for cell in self.cells:
            judge_cell(cell, state.context(), self.splits, progress)
