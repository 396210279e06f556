"""The pieces that a run is cut into: plain values that can be sent to another process; they hold no state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from das.engine.engines.resume import ResumeEngine
from das.environment import describe_numerics
from das.sites import Site, Stream, check_offered
from evaluation.config.suite import SuiteConfig
from evaluation.records.environment import describe_environment
from evaluation.suite.cells import judge_cell, run_cells
from evaluation.suite.control_runs import run_control
from evaluation.suite.execution.desk import Desk
from evaluation.suite.forecast.cache import planned_cache
from evaluation.suite.grid import Cell
from ravel.building import BuildConfig, build_instance
from ravel.common.errors import SuiteError
from ravel.common.progress import Progress
from ravel.facts.sources import open_tables

__all__ = [
    "Build",
    "Collect",
    "Control",
    "Describe",
    "Described",
    "Fit",
    "Job",
    "Judge",
    "Prepare",
    "Prepared",
]


class Job(Protocol):
    """One piece of a run. Its result is a function of the run's folder and of what it says itself."""

    @property
    def site(self) -> Site | None:
        """Where most of its work is: a worker that has kept that site's states is given it first."""
        ...

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells whose results it makes."""
        ...

    def work(self, desk: Desk, progress: Progress) -> object:
        """Do it, writing results into the run's folder; return what the coordinator must know."""
        ...


@dataclass(frozen=True, slots=True)
class Described:
    """A target model as a plan knows it: no weights."""

    name: str
    """As its user calls it."""
    fingerprint: str
    """Equal for equal models."""
    parts: Mapping[str, str]
    """What the fingerprint is made of, by name."""
    n_layers: int
    """Number of blocks."""
    n_heads: int
    """Attention heads of a block."""
    d_model: int
    """Width of the residual stream."""
    head_width: int
    """Length of a head's output."""
    refusals: Mapping[Stream, str] = field(default_factory=dict)
    """Streams that are not offered, each with the reason."""

    def width(self, site: Site) -> int:
        """Return the length of the vector at a site."""
        return self.d_model if site.head is None else self.head_width

    def check(self, site: Site) -> None:
        """Raise SuiteError unless the model has the site's layer and head, and its stream is offered."""
        check_offered(site, self.refusals, self.name)
        site.check(self.n_layers, None if site.head is None else self.n_heads)


@dataclass(frozen=True, slots=True)
class _Whole:
    """A job that is about the run as a whole."""

    @property
    def site(self) -> Site | None:
        """None: no site of its own."""
        return None

    @property
    def cells(self) -> tuple[Cell, ...]:
        """None of the grid's."""
        return ()


@dataclass(frozen=True, slots=True)
class Describe(_Whole):
    """Open the model and say what it is."""

    def work(self, desk: Desk, progress: Progress) -> Described:
        """Return the description."""
        target = desk.engine.target
        return Described(
            name=target.name,
            fingerprint=target.fingerprint,
            parts=target.parts,
            n_layers=target.n_layers,
            n_heads=target.n_heads,
            d_model=target.d_model,
            head_width=target.head_width,
            refusals=target.refusals,
        )


@dataclass(frozen=True, slots=True)
class Build(_Whole):
    """Build the instance inside the run's folder."""

    data: str
    """Where the facts come from."""
    entity_type: str
    """The entity type."""
    settings: Mapping[str, Any]
    """Settings of the build."""

    def work(self, desk: Desk, progress: Progress) -> None:
        """Build and save it; one that is there must have been built with the same settings."""
        config = BuildConfig.from_mapping(dict(self.settings), origin="the suite's build")
        if desk.run.instance.is_dir():
            if desk.instance.manifest.config != config.model_dump(mode="json"):
                raise SuiteError(
                    expected=f"a run of this kind in {desk.run.path}",
                    came="one whose instance was built with other settings",
                    todo="choose another --out, or restore the suite's build settings",
                )
            return
        tables = open_tables(self.data, self.entity_type)
        build_instance(tables, desk.answerer(), config, progress).save(desk.run.instance)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a worker says of itself before the first cell."""

    environment: Mapping[str, Any]
    """An entry of `environment.json`."""
    cache: str | None
    """What the engine keeps, in words; None for one that keeps nothing of the kind."""


@dataclass(frozen=True, slots=True)
class Prepare(_Whole):
    """Say what the worker's numbers depend on."""

    config: SuiteConfig
    """The resolved suite."""

    def work(self, desk: Desk, progress: Progress) -> Prepared:
        """Return the worker's environment and what its engine will keep."""
        engine, config = desk.engine, self.config
        cached = engine.name == ResumeEngine.name
        cache = planned_cache(config, desk.instance, engine.target) if cached else None
        environment = describe_environment(
            device=config.device,
            dtype=config.dtype,
            engine=engine.name,
            cache=None if cache is None else cache.choice,
            numerics=describe_numerics(),
        )
        return Prepared(environment, None if cache is None else cache.text())


@dataclass(frozen=True, slots=True)
class Collect(_Whole):
    """Read every prompt at every site once, for all fits that look at vectors."""

    sites: tuple[Site, ...]
    """The sites."""

    def work(self, desk: Desk, progress: Progress) -> None:
        """Write the vectors into the run's `shared/`, if they are not there."""
        desk.with_vectors(self.sites, partial(progress, "activations"))


@dataclass(frozen=True, slots=True)
class Fit:
    """Fit cells side by side and judge them on validation pairs; the test splits stay closed."""

    cells: tuple[Cell, ...]
    """The cells."""
    splits: tuple[str, ...]
    """Splits to judge them on."""
    vector_sites: tuple[Site, ...]
    """Sites whose vectors were collected."""

    @property
    def site(self) -> Site | None:
        """The cells' site."""
        return self.cells[0].site

    def work(self, desk: Desk, progress: Progress) -> None:
        """Write the cells' folders."""
        bench = desk.with_vectors(self.vector_sites) if self.vector_sites else desk.bench()
        run_cells(self.cells, bench.without_test(), self.splits, progress)


@dataclass(frozen=True, slots=True)
class Judge:
    """Judge a fitted cell, on test pairs as well."""

    cells: tuple[Cell, ...]
    """The one cell."""
    splits: tuple[str, ...]
    """Splits to judge it on."""

    @property
    def site(self) -> Site | None:
        """The cell's site."""
        return self.cells[0].site

    def work(self, desk: Desk, progress: Progress) -> None:
        """Write the outcomes that are missing."""
        for cell in self.cells:
            judge_cell(cell, desk.bench(), self.splits, progress)


@dataclass(frozen=True, slots=True)
class Control(_Whole):
    """Fit, judge and floor one control at the chosen points."""

    name: str
    """The control."""
    points: Mapping[tuple[str, str], Cell]
    """The controlled cells of the grid, by (method, attribute)."""

    def work(self, desk: Desk, progress: Progress) -> None:
        """Write the control's cells and floors."""
        run_control(self.name, self.points, desk.bench(), desk.config, progress)
