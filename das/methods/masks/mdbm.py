"""MDBM: the neurons whose interchange brings the target's value and leaves every other attribute alone."""

from __future__ import annotations

from typing import ClassVar

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.methods.common.base import MethodConfig, Problem, TrainedMethod, Workspace
from das.methods.common.tasks import mixed_task
from das.methods.masks._masks import MixedMaskConfig, train_neuron_mask
from das.training.together import Training

__all__ = ["METHOD", "Mdbm", "MdbmConfig"]


class MdbmConfig(MixedMaskConfig):
    """Settings of MDBM."""


class Mdbm(TrainedMethod):
    """Multi-task differential binary masking over the neurons of one site, the MDBM row of RAVEL.

    The mask of DBM, trained on one cross entropy over the pooled pairs, as MDAS is (Huang et al. 2024, arXiv
    2402.17700): cause pairs of the target and isolate pairs of every other attribute.
    """

    name: ClassVar[str] = "mdbm"
    summary: ClassVar[str] = "Neurons chosen by a mask trained on the target and all others (cause + isolate)"
    config_class: ClassVar[type[MethodConfig]] = MdbmConfig
    needs_size: ClassVar[bool] = False
    needs_pairs: ClassVar[bool] = True

    def training(self, problem: Problem, engine: Engine, workspace: Workspace) -> Training[Featurizer]:
        """Train a `MaskedBasis` of neurons with a hard mask, which may be empty.

        Raises SuiteError for an unknown attribute or layer, a target without training pairs, or an instance
        without training pairs of any other attribute.
        """
        config = self.config
        assert isinstance(config, MdbmConfig)
        engine.target.check(problem.site)
        task = mixed_task(self, problem, engine, config)
        return (yield from train_neuron_mask(task, engine, workspace, config))


METHOD = Mdbm
