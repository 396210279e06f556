"""Where jobs are done: one open model and one run. What is costly is opened at its first use and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from das.engine import EngineAnswerer
from das.engine.protocol import Engine
from das.methods.base import Method
from das.sites import Site
from evaluation.activations import collect_vectors
from evaluation.cells import Bench
from evaluation.judging import NaturalAnswers
from evaluation.plan import SuiteConfig
from evaluation.runs import RunFolder
from ravel.common.registry import Registry
from ravel.instance import Instance

__all__ = ["Desk"]


class Desk:
    """One open model and one run."""

    def __init__(
        self,
        run: RunFolder,
        open_engine: Callable[[], Engine],
        methods: Registry[type[Method]],
        *,
        instance: Instance | Path,
        renew: Callable[[Engine], Engine] | None = None,
    ) -> None:
        """Take the run, and how its engine is opened.

        `instance` is read from the run's own copy where there is one. With `renew`, an engine whose numbers
        depend on what it did before is made afresh for every job, so that a job's result does not depend on
        which worker did what before it.
        """
        self.run = run
        """The run."""
        self._open_engine = open_engine
        self._methods = methods
        self._given = instance
        self._renew = renew
        self._engine: Engine | None = None
        self._instance: Instance | None = instance if isinstance(instance, Instance) else None
        self._config: SuiteConfig | None = None
        self._bench: Bench | None = None
        self._vectors: dict[tuple[Site, ...], Bench] = {}

    @property
    def engine(self) -> Engine:
        """The engine; the model is loaded at first use."""
        if self._engine is None:
            self._engine = self._open_engine()
        return self._engine

    @property
    def instance(self) -> Instance:
        """The whole instance."""
        if self._instance is None:
            assert isinstance(self._given, Path)
            own = self.run.instance
            self._instance = Instance.load(own if own.is_dir() else self._given)
        return self._instance

    @property
    def config(self) -> SuiteConfig:
        """The resolved suite, as the run's folder has it."""
        if self._config is None:
            self._config = SuiteConfig.from_file(self.run.config)
        return self._config

    def answerer(self) -> EngineAnswerer:
        """Return the model as what answers questions of a build."""
        return EngineAnswerer(self.engine)

    def begin_job(self) -> None:
        """Forget what could make the next job's numbers depend on earlier ones."""
        if self._renew is not None and self._engine is not None:
            self._engine = self._renew(self._engine)
            self._bench = None
            self._vectors = {}

    def bench(self) -> Bench:
        """Return what every cell shares, test splits open."""
        if self._bench is None:
            self._bench = Bench(
                self.instance,
                self.engine.target,
                self.run,
                self.config.label_tokens,
                self._methods,
                tolerance=self.config.tolerance,
                natural=NaturalAnswers(self.engine),
                opened=self.engine,
            )
        return self._bench

    def with_vectors(
        self, sites: Sequence[Site], progress: Callable[[int, int], None] | None = None
    ) -> Bench:
        """Return the bench with every prompt's vectors at these sites in store; what the run's `shared/` has
        is not read again."""
        key = tuple(sites)
        if key not in self._vectors:
            withheld, bench = self.instance.without_test(), self.bench()
            fitting = collect_vectors(withheld, self.engine, sites, self.run.shared, progress)
            self._vectors[key] = replace(bench, fitting=fitting)
        return self._vectors[key]
