"""How a mask over features is trained on pairs: settings and the way from a problem to a hard mask.

It knows pairs and the training loop; not which features the mask chooses among.
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.methods.common.alignment import (
    check_attribute,
    fit_identity,
    fit_seed,
    mixed_pairs,
    require_cause_pairs,
    require_isolate_pairs,
)
from das.methods.common.base import Method, Problem, Workspace
from das.methods.trained.das import DasConfig
from das.methods.trained.mdas import MdasConfig
from das.training.examples import cause_pairs
from das.training.loop import Training, TrainingConfig, TrainingTask, training
from das.training.masks import MaskConfig, TrainableMask, mask_margin
from das.training.objective import LossWeights, TrainingPair
from ravel.terms.schema import TRAIN_SPLIT

__all__ = [
    "CauseMaskConfig",
    "MaskTrainingConfig",
    "MixedMaskConfig",
    "train_cause_mask",
    "train_mixed_mask",
]

_VALIDATION_SPLIT = "context_val"


class MaskTrainingConfig(MaskConfig, TrainingConfig):
    """Settings of every trained mask.

    By default the last epoch is kept: before the temperature has come down, a hard mask is not what was
    trained, and accuracy alone would keep features that the penalty has yet to remove.
    """

    epochs: PositiveInt = 3
    """Passes over the training pairs (reference: 3)."""
    learning_rate: PositiveFloat = 5e-2
    """Peak rate of AdamW (reference: 1e-3)."""
    validation_pairs: NonNegativeInt = 0
    """Most validation pairs of the target attribute and of each other one; 0 keeps the last epoch."""


class CauseMaskConfig(MaskTrainingConfig, DasConfig):
    """Settings of a mask that is trained on the cause pairs of its target."""


class MixedMaskConfig(MaskTrainingConfig, MdasConfig):
    """Settings of a mask that is trained on cause and isolate pairs."""


def train_cause_mask(
    method: Method,
    problem: Problem,
    engine: Engine,
    workspace: Workspace,
    config: CauseMaskConfig,
    *,
    make: Callable[[Tensor], Featurizer],
    n_features: int,
) -> Training[Featurizer]:
    """Train the featurizer whose hard mask brings the source's answer at the least number of features.

    `make` turns a mask [n_features] on the engine's device into a featurizer. The decision's margin is
    logged. Raises SuiteError for an unknown attribute or one without training pairs.
    """
    check_attribute(problem)

    def pairs(split: str, limit: int) -> list[TrainingPair]:
        return cause_pairs(
            problem.instance,
            problem.attribute,
            split,
            limit=limit,
            seed=fit_seed(method, problem),
            label_tokens=config.label_tokens,
        )

    training = pairs(TRAIN_SPLIT, config.cause_pairs)
    require_cause_pairs(problem, training)
    task = TrainingTask(
        training=training,
        validation=pairs(_VALIDATION_SPLIT, config.validation_pairs),
        site=problem.site,
        weights=LossWeights(),
        seed=fit_seed(method, problem),
        identity=fit_identity(method, problem, engine),
    )
    return (yield from _train(task, engine, workspace, config, make=make, n_features=n_features))


def train_mixed_mask(
    method: Method,
    problem: Problem,
    engine: Engine,
    workspace: Workspace,
    config: MixedMaskConfig,
    *,
    make: Callable[[Tensor], Featurizer],
    n_features: int,
) -> Training[Featurizer]:
    """Train the featurizer whose hard mask brings the source's answer and leaves the other attributes alone.

    As `train_cause_mask`, with the isolate pairs of every other attribute mixed in as MDAS does. Raises
    SuiteError also for an instance without any.
    """
    check_attribute(problem)

    def pairs(split: str, limit: int, each: int | None) -> tuple[list[TrainingPair], list[TrainingPair]]:
        return mixed_pairs(
            problem,
            split,
            cause_limit=limit,
            isolate_limit_each=each,
            seed=fit_seed(method, problem),
            label_tokens=config.label_tokens,
        )

    causes, isolates = pairs(TRAIN_SPLIT, config.cause_pairs, config.isolate_pairs_per_attribute)
    require_cause_pairs(problem, causes)
    require_isolate_pairs(problem, isolates)
    held_out = pairs(_VALIDATION_SPLIT, config.validation_pairs, config.validation_pairs)
    task = TrainingTask(
        training=[*causes, *isolates],
        validation=[*held_out[0], *held_out[1]],
        site=problem.site,
        weights=config.weights(len(causes), len(isolates)),
        seed=fit_seed(method, problem),
        identity=fit_identity(method, problem, engine),
    )
    return (yield from _train(task, engine, workspace, config, make=make, n_features=n_features))


def _train(
    task: TrainingTask,
    engine: Engine,
    workspace: Workspace,
    config: MaskTrainingConfig,
    *,
    make: Callable[[Tensor], Featurizer],
    n_features: int,
) -> Training[Featurizer]:
    trainable = TrainableMask(make, n_features, config).to(engine.target.device)
    found = yield from training(trainable, task, engine, workspace, config)
    workspace.log(mask_margin(trainable))
    return found
