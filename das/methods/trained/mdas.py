"""MDAS: the subspace whose interchange brings the source's answer and leaves every other attribute alone."""

from __future__ import annotations

from typing import ClassVar

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.methods.common.alignment import check_attribute, check_size
from das.methods.common.base import MethodConfig, Problem, TrainedMethod, Workspace
from das.methods.common.tasks import MixedPairsConfig, mixed_task
from das.methods.trained._subspace import train_subspace
from das.training.together import Training

__all__ = ["METHOD", "Mdas", "MdasConfig"]


class MdasConfig(MixedPairsConfig):
    """Settings of MDAS."""


class Mdas(TrainedMethod):
    """Multi-task distributed alignment search (Huang et al. 2024, arXiv 2402.17700, section 4) at one site.

    One cross entropy over the pooled pairs: the target's cause pairs towards the source entity's answer,
    every other attribute's isolate pairs towards the base's own, over orthonormal columns as in DAS.
    Departures: early stopping on validation pairs; optional explicit weights; a larger learning rate, for
    small models.
    """

    name: ClassVar[str] = "mdas"
    summary: ClassVar[str] = (
        "Subspace trained to bring the target's value and to leave all others (cause + isolate)"
    )
    config_class: ClassVar[type[MethodConfig]] = MdasConfig
    needs_pairs: ClassVar[bool] = True

    def training(self, problem: Problem, engine: Engine, workspace: Workspace) -> Training[Featurizer]:
        """Train a `Subspace`.

        Raises SuiteError for an unknown attribute, a size beyond the model's width, a target without training
        pairs, or an instance without training pairs of any other attribute.
        """
        config = self.config
        assert isinstance(config, MdasConfig)
        check_attribute(problem)
        check_size(problem, engine)
        task = mixed_task(self, problem, engine, config)
        return (yield from train_subspace(problem, task, engine, workspace, config))


METHOD = Mdas
