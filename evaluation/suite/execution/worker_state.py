"""What a worker has open while it does jobs: one model and one run. What is costly is opened at its first
use and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from das.engine import EngineAnswerer
from das.engine.base.protocol import Engine
from das.engine.engines.base_engine import listen
from das.methods.common.base import Method
from das.sites import Site
from evaluation.config.suite import SuiteConfig
from evaluation.judging.recognition import recognise
from evaluation.records.run_folder import RunFolder
from evaluation.suite.cells.context import RunContext
from evaluation.suite.cells.stored_vectors import collect_vectors
from evaluation.tracks import track_of
from ravel.common.progress import Note, Progress
from ravel.common.registry import Registry
from ravel.instance import Instance


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What a worker says of itself before the first cell."""

    environment: Mapping[str, Any]
    """An entry of `environment.json`."""
    cache: str | None
    """What the engine keeps, in words; None for one that keeps nothing of the kind."""


class WorkerState:
    """One open model and one run, as the jobs of one worker share them."""

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
        self._context: RunContext | None = None
        self._vectors: dict[tuple[Site, ...], RunContext] = {}
        self._note: Callable[[str], None] | None = None

    @property
    def engine(self) -> Engine:
        """The engine; the model is loaded at first use."""
        if self._engine is None:
            self._engine = self._open_engine()
            if self._built():
                recognise(self._engine, self.instance.model_fingerprint, self._note)
            listen(self._engine, self._note)
        return self._engine

    def _built(self) -> bool:
        """Tell whether there is an instance yet, whose fingerprint of the model is to be used."""
        if isinstance(self._given, Instance):
            return True
        return any((path / "manifest.json").is_file() for path in (self.run.instance, self._given))

    @cached_property
    def instance(self) -> Instance:
        """The whole instance."""
        if isinstance(self._given, Instance):
            return self._given
        own = self.run.instance
        return Instance.load(own if own.is_dir() else self._given)

    @cached_property
    def config(self) -> SuiteConfig:
        """The resolved suite, as the run's folder has it."""
        return SuiteConfig.from_file(self.run.config)

    def answerer(self) -> EngineAnswerer:
        """Return the model as what answers questions of a build."""
        return EngineAnswerer(self.engine)

    def begin_job(self, progress: Progress) -> None:
        """Forget what could make the next job's numbers depend on earlier ones; `progress` gets the engine's
        lines for the user."""
        self._note = lambda text: progress(Note(text))
        if self._engine is None:
            return
        renewed = self._engine if self._renew is None else self._renew(self._engine)
        if renewed is not self._engine:
            self._engine, self._context, self._vectors = renewed, None, {}
        listen(self._engine, self._note)

    def context(self) -> RunContext:
        """Return what every cell shares, test splits open."""
        if self._context is None:
            config = self.config
            track, judging = track_of(config), config.judging()
            self._context = RunContext(
                self.instance,
                self.engine.target,
                self.run,
                track,
                judging,
                self._methods,
                opened=track.judge(self.engine, judging),
            )
        return self._context

    def with_vectors(
        self, sites: Sequence[Site], progress: Callable[[int, int], None] | None = None
    ) -> RunContext:
        """Return the context with every prompt's vectors at these sites in store; what the run's `shared/`
        has is not read again."""
        key = tuple(sites)
        if key not in self._vectors:
            withheld, context = self.instance.without_test(), self.context()
            fitting = collect_vectors(withheld, self.engine, sites, self.run.shared, progress)
            self._vectors[key] = replace(context, fitting=fitting)
        return self._vectors[key]
