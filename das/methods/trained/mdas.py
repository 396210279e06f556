"""MDAS: the subspace whose interchange brings the source's answer and leaves every other attribute alone."""

from __future__ import annotations

from das.engine.base.protocol import Engine
from das.methods.common.base import Problem
from das.methods.common.tasks import MixedPairsConfig, mixed_task
from das.methods.trained._subspace import TrainedSubspace
from das.training.config import TrainingTask


class Mdas(TrainedSubspace[MixedPairsConfig]):
    """Multi-task distributed alignment search (Huang et al. 2024, arXiv 2402.17700, section 4) at one site.

    One cross entropy over the pooled pairs: the target's cause pairs towards the source entity's answer,
    every other attribute's isolate pairs towards the base's own, over orthonormal columns as in DAS.
    Departures: early stopping on validation pairs; optional explicit weights; a larger learning rate, for
    small models.
    """

    name = "mdas"
    summary = "Subspace trained to bring the target's value and to leave all others (cause + isolate)"
    config_class = MixedPairsConfig

    def task(self, problem: Problem, engine: Engine) -> TrainingTask:
        """Return cause and isolate pairs. Raises SuiteError if there are none of either."""
        return mixed_task(self, problem, engine)


METHOD = Mdas
