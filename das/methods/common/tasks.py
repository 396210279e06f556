"""From a problem to what is trained on: cause pairs alone, or isolate pairs mixed in, with how many of each.
It knows pairs and settings; not what is trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pydantic import ConfigDict, PositiveFloat, PositiveInt, ValidationInfo, field_validator
from typing_extensions import TypeVar

from das.engine.base.protocol import Engine
from das.methods.common.alignment import check_attribute, fit_identity, fit_seed
from das.methods.common.base import Method, MethodConfig, Problem
from das.training.config import TrainingConfig, TrainingTask
from das.training.examples import cause_pairs, isolate_pairs
from das.training.objective import LossWeights, TrainingPair
from ravel.common.errors import SuiteError
from ravel.terms.schema import TRAIN_SPLIT

ISOLATE_SHARE = 1.25
"""Isolate pairs of all other attributes by cause pairs: 25,000 by 20,000 in RAVEL's multi-task data for city
(Huang et al. 2024, arXiv 2402.17700)."""
_VALIDATION_SPLIT = "context_val"


class CausePairsConfig(TrainingConfig, MethodConfig):
    """Settings of every method that trains on the cause pairs of its target."""

    cause_pairs: PositiveInt = 4000
    """Most training pairs of the target attribute (reference: 20,000); a larger population is sampled."""


PairsSettings = TypeVar("PairsSettings", bound=CausePairsConfig, covariant=True)
"""What the settings of a method that trains on pairs are."""


class MixedPairsConfig(CausePairsConfig):
    """Settings of every method that trains on cause pairs of its target and isolate pairs of the others."""

    isolate_pairs_per_attribute: PositiveInt | None = None
    """Most training pairs of each other attribute; None: those of `isolates_each`. Their number against that
    of cause pairs is what weighs isolate against cause."""
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


def isolates_each(causes: int, others: int) -> int:
    """Return how many isolate pairs of each of `others` attributes stand beside so many cause pairs: together
    `ISOLATE_SHARE` of them. Departure: the paper has 5,000 of each other attribute, however many there are;
    with few of them isolate then weighs too little, as validation pairs of three worlds say
    (docs/real-models.md)."""
    return max(1, int(ISOLATE_SHARE * causes // max(others, 1)))


def require_cause_pairs(problem: Problem, pairs: Sequence[object]) -> None:
    """Raise SuiteError if there is nothing to train the target attribute on."""
    if not pairs:
        raise SuiteError(
            expected=f"training pairs whose base asks for {problem.attribute!r}",
            came="an instance with none",
            todo="build the instance with more entities or templates, or choose another attribute",
        )


def require_isolate_pairs(problem: Problem, pairs: Sequence[object]) -> None:
    """Raise SuiteError if there is no other attribute to leave alone."""
    if not pairs:
        raise SuiteError(
            expected=f"training pairs of attributes other than {problem.attribute!r}",
            came="an instance with none",
            todo="use das, which trains on cause pairs only, or build the instance with more attributes",
        )


def cause_task(method: Method[CausePairsConfig], problem: Problem, engine: Engine) -> TrainingTask:
    """Return the target's cause pairs to train on, and those of held-out templates that choose the epoch.
    Raises SuiteError for an unknown attribute or one without training pairs."""
    check_attribute(problem)
    config, seed = method.config, fit_seed(method, problem)
    pairs = partial(
        cause_pairs, problem.instance, problem.attribute, seed=seed, label_tokens=config.label_tokens
    )
    training = pairs(TRAIN_SPLIT, limit=config.cause_pairs)
    require_cause_pairs(problem, training)
    return TrainingTask(
        training=training,
        validation=pairs(_VALIDATION_SPLIT, limit=config.validation_pairs),
        site=problem.site,
        weights=LossWeights(),
        seed=seed,
        identity=fit_identity(method, problem, engine),
    )


def mixed_task(method: Method[MixedPairsConfig], problem: Problem, engine: Engine) -> TrainingTask:
    """Return the target's cause pairs with the isolate pairs of every other attribute, weighed as asked.
    Raises SuiteError as `cause_task` does, and for an instance without isolate pairs."""
    check_attribute(problem)
    config, seed = method.config, fit_seed(method, problem)
    pairs = partial(mixed_pairs, problem, seed=seed, label_tokens=config.label_tokens)
    causes, isolates = pairs(
        TRAIN_SPLIT, cause_limit=config.cause_pairs, isolate_limit_each=config.isolate_pairs_per_attribute
    )
    require_cause_pairs(problem, causes)
    require_isolate_pairs(problem, isolates)
    most = config.validation_pairs
    held_out = pairs(_VALIDATION_SPLIT, cause_limit=most, isolate_limit_each=most)
    return TrainingTask(
        training=[*causes, *isolates],
        validation=[*held_out[0], *held_out[1]],
        site=problem.site,
        weights=config.weights(len(causes), len(isolates)),
        seed=seed,
        identity=fit_identity(method, problem, engine),
    )


def mixed_pairs(
    problem: Problem,
    split: str,
    *,
    cause_limit: int,
    isolate_limit_each: int | None,
    seed: int,
    label_tokens: int,
) -> tuple[list[TrainingPair], list[TrainingPair]]:
    """Return the cause pairs of the target and the isolate pairs of every other attribute in `split`.
    `isolate_limit_each` bounds the pairs of each other attribute; None: `isolates_each` of the cause pairs
    found."""
    instance, target = problem.instance, problem.attribute
    causes = cause_pairs(instance, target, split, limit=cause_limit, seed=seed, label_tokens=label_tokens)
    each = isolate_limit_each
    if each is None:
        each = isolates_each(len(causes), len(instance.attributes) - 1)
    isolates = isolate_pairs(instance, target, split, limit_each=each, seed=seed, label_tokens=label_tokens)
    return causes, isolates
