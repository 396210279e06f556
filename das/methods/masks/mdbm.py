"""MDBM: the neurons whose interchange brings the target's value and leaves every other attribute alone."""

from __future__ import annotations

from das.engine.base.protocol import Engine
from das.methods.common.base import Problem
from das.methods.common.tasks import mixed_task
from das.methods.masks._masks import MixedMaskConfig, NeuronMask
from das.training.config import TrainingTask


class Mdbm(NeuronMask[MixedMaskConfig]):
    """Multi-task differential binary masking over the neurons of one site, the MDBM row of RAVEL. The mask of
    DBM, trained on one cross entropy over the pooled pairs, as MDAS is (Huang et al. 2024, arXiv 2402.17700):
    cause pairs of the target and isolate pairs of every other attribute."""

    name = "mdbm"
    summary = "Neurons chosen by a mask trained on the target and all others (cause + isolate)"
    config_class = MixedMaskConfig

    def task(self, problem: Problem, engine: Engine) -> TrainingTask:
        """Return cause and isolate pairs. Raises SuiteError for an unknown target, or none of either."""
        return mixed_task(self, problem, engine)


METHOD = Mdbm
