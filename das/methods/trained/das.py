"""DAS: the subspace whose interchange brings the source's answer, whatever else it may bring."""

from __future__ import annotations

from das.engine.base.protocol import Engine
from das.methods.common.base import Problem
from das.methods.common.tasks import CausePairsConfig, cause_task
from das.methods.trained._subspace import TrainedSubspace
from das.training.config import TrainingTask


class Das(TrainedSubspace[CausePairsConfig]):
    """Distributed alignment search (Geiger et al. 2024, arXiv 2303.02536) at one site, for one attribute.

    Minimises the cross entropy of the source entity's answer over the target's cause pairs, over orthonormal
    columns R [d_model, size]: `out = base + (source - base) R R^T`. The DAS row of RAVEL (Huang et al. 2024,
    arXiv 2402.17700, section 4). Departures: early stopping on validation pairs; a larger learning rate, for
    small models.
    """

    name = "das"
    summary = "Subspace trained to bring the source's value of the target (cause pairs only)"
    config_class = CausePairsConfig

    def task(self, problem: Problem, engine: Engine) -> TrainingTask:
        """Return the target's cause pairs. Raises SuiteError if there are none."""
        return cause_task(self, problem, engine)


METHOD = Das
