"""How a mask over features is trained on pairs: settings and the way from a task to a hard mask."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor
from typing_extensions import TypeVar

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.masked import MaskedBasis
from das.methods.common.base import Problem, TrainedMethod, Workspace
from das.methods.common.tasks import CausePairsConfig, MixedPairsConfig
from das.training.config import TrainingTask
from das.training.loop import training
from das.training.masks import MaskConfig, TrainableMask, mask_margin
from das.training.together import Training


class CauseMaskConfig(MaskConfig, CausePairsConfig):
    """Settings of a mask that is trained on the cause pairs of its target. By default the last epoch is kept:
    before the temperature has come down, a hard mask is not what was trained."""

    epochs: PositiveInt = 3
    """Passes over the training pairs (reference: 3)."""
    learning_rate: PositiveFloat = 5e-2
    """Peak rate of AdamW (reference: 1e-3)."""
    validation_pairs: NonNegativeInt = 0
    """Most validation pairs of the target attribute and of each other one; 0 keeps the last epoch."""


class MixedMaskConfig(CauseMaskConfig, MixedPairsConfig):
    """Settings of a mask that is trained on cause and isolate pairs."""


MaskSettings = TypeVar("MaskSettings", bound=CauseMaskConfig, covariant=True)


def train_mask(
    task: TrainingTask,
    engine: Engine,
    workspace: Workspace,
    config: CauseMaskConfig,
    *,
    make: Callable[[Tensor], Featurizer],
    n_features: int,
) -> Training[Featurizer]:
    """Train the featurizer whose hard mask does what the task's pairs say with the fewest features. `make`
    turns a mask [n_features] into one; the decision's margin is logged."""
    trainable = TrainableMask(make, n_features, config).to(engine.target.device)
    trained = yield from training(trainable, task, engine, workspace, config)
    workspace.log(mask_margin(trainable))
    return trained


class NeuronMask(TrainedMethod[MaskSettings]):
    """Trains a mask over the neurons of a site on the pairs of a task."""

    needs_size = False
    needs_pairs = True

    @abstractmethod
    def task(self, problem: Problem, engine: Engine) -> TrainingTask:
        """Return what is trained on."""

    def training(self, problem: Problem, engine: Engine, workspace: Workspace) -> Training[Featurizer]:
        """Train a `MaskedBasis` of neurons with a hard mask, which may be empty. Raises SuiteError for a
        layer that the model lacks, and as `task` does."""
        engine.target.check(problem.site)
        task, width = self.task(problem, engine), engine.target.width(problem.site)
        return (
            yield from train_mask(task, engine, workspace, self.config, make=MaskedBasis, n_features=width)
        )
