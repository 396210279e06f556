"""Boundless DAS: a rotation and how many of its coordinates carry the target, both learned."""

from __future__ import annotations

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.methods.common.alignment import check_attribute, fit_seed, random_columns
from das.methods.common.base import Problem, TrainedMethod
from das.methods.common.tasks import MixedPairsConfig, cause_task, mixed_task
from das.training.boundary import BoundaryConfig, TrainableBoundary
from das.training.loop import training
from das.training.together import Training
from das.training.workspace import Workspace
from ravel.common.seeds import derive_seed


class BoundlessDasConfig(BoundaryConfig, MixedPairsConfig):
    """Settings of boundless DAS. By default the last epoch is kept: before the temperature has come down, the
    hard boundary is not what was trained."""

    isolate: bool = False
    """Train on the isolate pairs of every other attribute too, as MDAS does; without, those settings of MDAS
    that concern them do nothing."""
    epochs: PositiveInt = 8
    """Passes over the training pairs (reference: 3, of many more pairs): the width takes longer to fall than
    the answer takes to come."""
    learning_rate: PositiveFloat = 3e-2
    """Peak rate of AdamW for rotation and boundary (reference: 1e-3 and 1e-2)."""
    validation_pairs: NonNegativeInt = 0
    """Most validation pairs of the target attribute and of each other one; 0 keeps the last epoch."""


class BoundlessDas(TrainedMethod[BoundlessDasConfig]):
    """Boundless distributed alignment search (Wu et al. 2023, arXiv 2305.08809) at one site, for one
    attribute.

    Minimises the cross entropy of the source entity's answer plus a price on the width over a full rotation R
    and a boundary b: coordinate i of R is swapped by `sigmoid((b - i - 1/2) / T)`, with T falling. The first
    b columns of R are the result, so the size is found. With `isolate` the loss is that of MDAS. Departures
    are told at `TrainableBoundary`.
    """

    name = "boundless_das"
    summary = "Subspace of a learned size, trained to bring the target's value"
    config_class = BoundlessDasConfig
    needs_size = False
    needs_pairs = True

    def training(self, problem: Problem, engine: Engine, workspace: Workspace) -> Training[Featurizer]:
        """Train a `Subspace` of the size that was found, which may be 0. Raises SuiteError for an unknown
        attribute or layer, and a target, or with `isolate` others, without training pairs."""
        check_attribute(problem)
        engine.target.check(problem.site)
        width = engine.target.width(problem.site)
        start = random_columns(width, width, derive_seed(fit_seed(self, problem), "start"))
        trainable = TrainableBoundary(start, self.config).to(engine.target.device)
        task = (mixed_task if self.config.isolate else cause_task)(self, problem, engine)
        subspace = yield from training(trainable, task, engine, workspace, self.config)
        workspace.log(
            {"phase": "boundary", "on": trainable.n_within(), "share": float(trainable.share.detach())}
        )
        return subspace


METHOD = BoundlessDas
