"""DAS: the subspace whose interchange brings the source's answer, whatever else it may bring."""

from __future__ import annotations

from typing import ClassVar

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.methods.common.alignment import check_attribute, check_size
from das.methods.common.base import MethodConfig, Problem, TrainedMethod, Workspace
from das.methods.common.tasks import CausePairsConfig, cause_task
from das.methods.trained._subspace import train_subspace
from das.training.together import Training

__all__ = ["METHOD", "Das", "DasConfig"]


class DasConfig(CausePairsConfig):
    """Settings of DAS."""


class Das(TrainedMethod):
    """Distributed alignment search (Geiger et al. 2024, arXiv 2303.02536) at one site, for one attribute.

    Minimises the cross entropy of the source entity's answer over the target's cause pairs, over orthonormal
    columns R [d_model, size]: `out = base + (source - base) R R^T`. The DAS row of RAVEL (Huang et al. 2024,
    arXiv 2402.17700, section 4). Departures: early stopping on validation pairs; a larger learning rate, for
    small models.
    """

    name: ClassVar[str] = "das"
    summary: ClassVar[str] = "Subspace trained to bring the source's value of the target (cause pairs only)"
    config_class: ClassVar[type[MethodConfig]] = DasConfig
    needs_pairs: ClassVar[bool] = True

    def training(self, problem: Problem, engine: Engine, workspace: Workspace) -> Training[Featurizer]:
        """Train a `Subspace`.

        Raises SuiteError for an unknown attribute, a size beyond the model's width, or a target without
        training pairs.
        """
        config = self.config
        assert isinstance(config, DasConfig)
        check_attribute(problem)
        check_size(problem, engine)
        task = cause_task(self, problem, engine, config)
        return (yield from train_subspace(problem, task, engine, workspace, config))


METHOD = Das
