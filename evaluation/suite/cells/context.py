"""What every cell of a run shares: instance, model, folder, settings; it runs nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

from das.engine.base.protocol import Engine
from das.methods.common.base import Method
from das.methods.registry import METHODS
from das.sites import SiteSpace
from evaluation.judging.judge import NaturalAnswers
from evaluation.records.run_folder import RunFolder
from ravel.common.registry import Registry
from ravel.instance.instance import Instance

__all__ = ["RunContext"]


@dataclass(frozen=True, slots=True)
class RunContext:
    """What every cell of a run shares."""

    instance: Instance
    """The whole instance or, while points are being chosen, one with the test splits withheld."""
    target: SiteSpace
    """The target model, or what is known of it where it is open elsewhere."""
    run: RunFolder
    """Where results go."""
    label_tokens: int
    """How many of an answer's first tokens are compared."""
    methods: Registry[type[Method]] = METHODS
    """Where methods are looked up."""
    natural: NaturalAnswers | None = None
    """What the model says by itself, kept for all cells."""
    fitting: Engine | None = None
    """The engine that fits are given, where it is another: one that has vectors in store."""
    tolerance: bool = True
    """Whether an answer that is close counts where the attribute's matcher lets it."""
    opened: Engine | None = None
    """Runs the target model; None where results are only read."""

    @property
    def engine(self) -> Engine:
        """The engine, where the model is open."""
        assert self.opened is not None, "the model is not open here"
        return self.opened

    def without_test(self) -> RunContext:
        """Return the same context with the test splits withheld."""
        return replace(self, instance=self.instance.without_test())
