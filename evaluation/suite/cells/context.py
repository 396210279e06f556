"""What every cell of a run shares: instance, model, folder, settings; it runs nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from das.engine.base.protocol import Engine
from das.methods.common.base import Method
from das.methods.registry import METHODS
from das.sites import SiteSpace
from evaluation.config.judging import Judging
from evaluation.records.run_folder import RunFolder
from evaluation.scoring.track import Judge, Track
from ravel.common.registry import Registry
from ravel.instance import Instance


@dataclass(frozen=True, slots=True)
class RunContext:
    """What every cell of a run shares."""

    instance: Instance
    """The whole instance or, while points are being chosen, one with the test splits withheld."""
    target: SiteSpace
    """The target model, or what is known of it where it is open elsewhere."""
    run: RunFolder
    """Where results go."""
    track: Track[Any]
    """What is asked of the featurizers."""
    judging: Judging
    """How outcomes are judged."""
    methods: Registry[type[Method]] = METHODS
    """Where methods are looked up."""
    opened: Judge | None = None
    """Judges with the target model, where that is open; None where results are only read."""
    fitting: Engine | None = None
    """The engine that fits are given, where it is another: one that has vectors in store."""

    @property
    def judge(self) -> Judge:
        """What judges with the target model, where that is open."""
        assert self.opened is not None, "the model is not open here"
        return self.opened

    @property
    def engine(self) -> Engine:
        """The engine, where the model is open."""
        return self.judge.engine

    def without_test(self) -> RunContext:
        """Return the same context with the test splits withheld."""
        return replace(self, instance=self.instance.without_test())
