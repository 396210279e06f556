"""A mask of any size asked for, all sizes from one training: neurons or principal components in order."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.masked import MaskedBasis
from das.methods.common.alignment import shared_by_sizes
from das.methods.common.base import Method, Problem, Workspace
from das.methods.common.tasks import MixedPairsConfig, mixed_task
from das.methods.masks.pca_mdbm import shared_basis
from das.training.budget import TrainableBudget, leading_mask
from das.training.loop import train_featurizer
from das.training.masks import HardeningConfig


class BudgetMaskConfig(HardeningConfig, MixedPairsConfig):
    """Settings of budget_mask. By default the last epoch is kept, as for every mask."""

    over: Literal["neurons", "components"] = "components"
    """What is chosen among: the neurons themselves, or all principal components of the training vectors."""
    basis_vectors: PositiveInt = 8000
    """Most training vectors of which the components are taken."""
    epochs: PositiveInt = 6
    """Passes over the training pairs: every size has a share of the steps only."""
    learning_rate: PositiveFloat = 5e-2
    """Peak rate of AdamW."""
    validation_pairs: NonNegativeInt = 0
    """Most validation pairs of the target attribute and of each other one; 0 keeps the last epoch, any other
    number that in which the middle one of all sizes does best."""


class BudgetMask(Method[BudgetMaskConfig]):
    """MDBM (Huang et al. 2024, arXiv 2402.17700) with a size in place of a price.

    One score per coordinate and `m = sigmoid(score / T + c)`, with c found by bisection so that m sums to the
    size k exactly, the budget gate of the tool causalab; k is drawn log-uniformly at every step, so that one
    training gives the whole curve of sizes, and a size takes the coordinates of the largest scores, whole.
    Trained on cause and isolate pairs as MDAS is. Departures: a temperature T that falls, as in DBM; the
    gradient goes through c; the sizes of a run share one training, with the log of the first.
    """

    name = "budget_mask"
    summary = "Coordinates in the order of a mask trained at all sizes at once (cause + isolate)"
    config_class = BudgetMaskConfig
    needs_vectors = True
    needs_pairs = True

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Featurizer:
        """Return a `MaskedBasis` with a hard mask of exactly `size` coordinates. Raises SuiteError for an
        unknown attribute, layer or size, and a target or others without training pairs."""
        shared = shared_by_sizes(
            self,
            problem,
            engine,
            workspace,
            lambda: {"scores": self._scores(problem, engine, workspace)},
            seed=problem.seed,
        )
        mask = leading_mask(shared["scores"], problem.size)
        workspace.log({"phase": "budget", "on": int(mask.sum())})
        return MaskedBasis(mask, self._basis(problem, engine, workspace))

    def _basis(self, problem: Problem, engine: Engine, workspace: Workspace) -> Tensor | None:
        if self.config.over == "neurons":
            return None
        return shared_basis(problem, engine, workspace, limit=self.config.basis_vectors)

    def _scores(self, problem: Problem, engine: Engine, workspace: Workspace) -> Tensor:
        """Train; return the score of each coordinate, [width]. No part of it may depend on the size."""
        basis, device = self._basis(problem, engine, workspace), engine.target.device
        placed = None if basis is None else basis.to(device)
        task = mixed_task(self, replace(problem, size=1), engine)
        trainable = TrainableBudget(
            lambda mask: MaskedBasis(mask, placed),
            engine.target.width(problem.site),
            self.config,
            task.seed,
        ).to(device)
        train_featurizer(trainable, task, engine, workspace, self.config)
        return trainable.scores.detach().cpu().contiguous()


METHOD = BudgetMask
