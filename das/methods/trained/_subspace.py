"""How a subspace of a given size is trained, whatever the pairs say."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.methods.common.alignment import check_attribute, check_size, random_columns
from das.methods.common.base import Problem, TrainedMethod, Workspace
from das.methods.common.tasks import PairsSettings
from das.training.config import TrainingTask
from das.training.loop import training
from das.training.together import Training
from das.training.trainable import Trainable, TrainableSubspace
from ravel.common.seeds import derive_seed


class TrainedSubspace(TrainedMethod[PairsSettings]):
    """Trains orthonormal columns, from random ones, on the pairs of a task."""

    needs_pairs = True

    @abstractmethod
    def task(self, problem: Problem, engine: Engine) -> TrainingTask:
        """Return what is trained on."""

    def training(self, problem: Problem, engine: Engine, workspace: Workspace) -> Training[Featurizer]:
        """Train a `Subspace`. Raises SuiteError for a size beyond the model's width, and as `task` does."""
        check_attribute(problem)
        check_size(problem, engine)
        task = self.task(problem, engine)
        seed = derive_seed(task.seed, "start")
        start = random_columns(engine.target.width(problem.site), problem.size, seed)
        trainable = self.trainable(start, problem, engine, workspace).to(engine.target.device)
        return (yield from training(trainable, task, engine, workspace, self.config))

    def trainable(self, start: Tensor, problem: Problem, engine: Engine, workspace: Workspace) -> Trainable:
        """Return what is trained, from columns `start` [d_model, size]."""
        return TrainableSubspace(start)
