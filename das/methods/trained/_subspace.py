"""How a subspace of a given size is trained, whatever the pairs say."""

from __future__ import annotations

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.methods.common.alignment import random_columns
from das.methods.common.base import Problem, Workspace
from das.training.config import TrainingConfig, TrainingTask
from das.training.loop import training
from das.training.together import Training
from das.training.trainable import TrainableSubspace
from ravel.common.seeds import derive_seed

__all__ = ["train_subspace"]


def train_subspace(
    problem: Problem, task: TrainingTask, engine: Engine, workspace: Workspace, config: TrainingConfig
) -> Training[Featurizer]:
    """Train a random subspace of the problem's size on the pairs of a task; return it on the CPU."""
    width = engine.target.width(problem.site)
    start = random_columns(width, problem.size, derive_seed(task.seed, "start"))
    trainable = TrainableSubspace(start).to(engine.target.device)
    return training(trainable, task, engine, workspace, config)
