"""DAS: the subspace whose interchange brings the source's answer, whatever else it may bring."""

from __future__ import annotations

from typing import ClassVar

from pydantic import PositiveInt

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.methods.common.alignment import (
    check_attribute,
    check_size,
    fit_seed,
    require_cause_pairs,
    train_subspace,
)
from das.methods.common.base import MethodConfig, Problem, TrainedMethod
from das.training.examples import cause_pairs
from das.training.loop import Training, TrainingConfig
from das.training.objective import LossWeights
from das.training.workspace import Workspace
from ravel.terms.schema import TRAIN_SPLIT

__all__ = ["METHOD", "Das", "DasConfig"]

_VALIDATION_SPLIT = "context_val"


class DasConfig(TrainingConfig, MethodConfig):
    """Settings of DAS."""

    cause_pairs: PositiveInt = 4000
    """Most training pairs of the target attribute (reference: 20,000); a larger population is sampled."""


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
    needs_attribute: ClassVar[bool] = True
    needs_size: ClassVar[bool] = True
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
        seed, tokens = fit_seed(self, problem), config.label_tokens
        instance, target = problem.instance, problem.attribute
        training = cause_pairs(
            instance, target, TRAIN_SPLIT, limit=config.cause_pairs, seed=seed, label_tokens=tokens
        )
        require_cause_pairs(problem, training)
        validation = cause_pairs(
            instance, target, _VALIDATION_SPLIT, limit=config.validation_pairs, seed=seed, label_tokens=tokens
        )
        return (
            yield from train_subspace(
                self,
                problem,
                engine,
                workspace,
                config,
                training=training,
                validation=validation,
                weights=LossWeights(),
            )
        )


METHOD = Das
