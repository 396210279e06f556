"""MDAS: the subspace whose interchange brings the source's answer and leaves every other attribute alone."""

from __future__ import annotations

from typing import ClassVar

from pydantic import ConfigDict, PositiveFloat, PositiveInt, ValidationInfo, field_validator

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.methods.common.alignment import (
    check_attribute,
    check_size,
    fit_seed,
    mixed_pairs,
    require_cause_pairs,
    require_isolate_pairs,
    train_subspace,
)
from das.methods.common.base import MethodConfig, Problem, TrainedMethod
from das.training.loop import Training, TrainingConfig
from das.training.objective import LossWeights, TrainingPair
from das.training.workspace import Workspace
from ravel.terms.schema import TRAIN_SPLIT

__all__ = ["METHOD", "Mdas", "MdasConfig"]

_VALIDATION_SPLIT = "context_val"


class MdasConfig(TrainingConfig, MethodConfig):
    """Settings of MDAS."""

    cause_pairs: PositiveInt = 4000
    """Most training pairs of the target attribute (reference: 20,000); a larger population is sampled."""
    isolate_pairs_per_attribute: PositiveInt | None = None
    """Most training pairs of each other attribute; None: a quarter of the cause pairs, the proportion of the
    reference (5,000 to 20,000), which is what weighs isolate against cause."""
    cause_weight: PositiveFloat | None = None
    """Share of the loss for all cause pairs together; None: by counts, as in the reference."""
    isolate_weight: PositiveFloat | None = None
    """Share of the loss for all isolate pairs together; given exactly if `cause_weight` is."""

    @field_validator("isolate_weight")
    @classmethod
    def _both_or_neither(cls, value: float | None, info: ValidationInfo) -> float | None:
        if "cause_weight" in info.data and (value is None) != (info.data["cause_weight"] is None):
            raise ValueError("cause_weight and isolate_weight are given both or neither")
        return value

    # Without this a lone cause_weight would pass, for isolate_weight would keep its default unseen.
    model_config = ConfigDict(validate_default=True)

    def weights(self, n_cause: int, n_isolate: int) -> LossWeights:
        """Return what a pair of each kind counts, given how many of each there are."""
        if self.cause_weight is None or self.isolate_weight is None:
            return LossWeights()
        return LossWeights.from_shares(
            cause=self.cause_weight, isolate=self.isolate_weight, n_cause=n_cause, n_isolate=n_isolate
        )


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
    needs_attribute: ClassVar[bool] = True
    needs_size: ClassVar[bool] = True
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
        causes, isolates = self._pairs(
            problem, TRAIN_SPLIT, config.cause_pairs, config.isolate_pairs_per_attribute
        )
        require_cause_pairs(problem, causes)
        require_isolate_pairs(problem, isolates)
        limit = config.validation_pairs
        held_out = self._pairs(problem, _VALIDATION_SPLIT, limit, limit)
        return (
            yield from train_subspace(
                self,
                problem,
                engine,
                workspace,
                config,
                training=[*causes, *isolates],
                validation=[*held_out[0], *held_out[1]],
                weights=config.weights(len(causes), len(isolates)),
            )
        )

    def _pairs(
        self, problem: Problem, split: str, limit: int, each: int | None
    ) -> tuple[list[TrainingPair], list[TrainingPair]]:
        config = self.config
        assert isinstance(config, MdasConfig)
        return mixed_pairs(
            problem,
            split,
            cause_limit=limit,
            isolate_limit_each=each,
            seed=fit_seed(self, problem),
            label_tokens=config.label_tokens,
        )


METHOD = Mdas
