"""DBM: the neurons whose interchange brings the source's answer, chosen by a trained mask."""

from __future__ import annotations

from das.engine.base.protocol import Engine
from das.methods.common.base import Problem
from das.methods.common.tasks import cause_task
from das.methods.masks._masks import CauseMaskConfig, NeuronMask
from das.training.config import TrainingTask


class Dbm(NeuronMask[CauseMaskConfig]):
    """Differential binary masking (De Cao et al. 2020, arXiv 2004.14992) over the neurons of one site.

    Minimises the cross entropy of the source entity's answer over the target's cause pairs plus a price per
    neuron: `out = (1 - m) base + m source`, `m = sigmoid(logits / T)`, with T falling. The DBM row of RAVEL
    (Huang et al. 2024, arXiv 2402.17700); departures are told at `TrainableMask`.
    """

    name = "dbm"
    summary = "Neurons chosen by a mask trained to bring the target's value (cause pairs only)"
    config_class = CauseMaskConfig

    def task(self, problem: Problem, engine: Engine) -> TrainingTask:
        """Return the target's cause pairs. Raises SuiteError for an unknown target, or one without any."""
        return cause_task(self, problem, engine)


METHOD = Dbm
