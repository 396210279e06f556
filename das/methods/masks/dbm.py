"""DBM: the neurons whose interchange brings the source's answer, chosen by a trained mask."""

from __future__ import annotations

from typing import ClassVar

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.methods.common.base import MethodConfig, Problem, TrainedMethod, Workspace
from das.methods.common.tasks import cause_task
from das.methods.masks._masks import CauseMaskConfig, train_neuron_mask
from das.training.together import Training

__all__ = ["METHOD", "Dbm", "DbmConfig"]


class DbmConfig(CauseMaskConfig):
    """Settings of DBM."""


class Dbm(TrainedMethod):
    """Differential binary masking (De Cao et al. 2020, arXiv 2004.14992) over the neurons of one site.

    Minimises the cross entropy of the source entity's answer over the target's cause pairs plus a price per
    neuron: `out = (1 - m) base + m source`, `m = sigmoid(logits / T)`, with T falling. The DBM row of RAVEL
    (Huang et al. 2024, arXiv 2402.17700); departures are told at `TrainableMask`.
    """

    name: ClassVar[str] = "dbm"
    summary: ClassVar[str] = "Neurons chosen by a mask trained to bring the target's value (cause pairs only)"
    config_class: ClassVar[type[MethodConfig]] = DbmConfig
    needs_size: ClassVar[bool] = False
    needs_pairs: ClassVar[bool] = True

    def training(self, problem: Problem, engine: Engine, workspace: Workspace) -> Training[Featurizer]:
        """Train a `MaskedBasis` of neurons with a hard mask, which may be empty.

        Raises SuiteError for an unknown attribute or layer, or a target without training pairs.
        """
        config = self.config
        assert isinstance(config, DbmConfig)
        engine.target.check(problem.site)
        task = cause_task(self, problem, engine, config)
        return (yield from train_neuron_mask(task, engine, workspace, config))


METHOD = Dbm
