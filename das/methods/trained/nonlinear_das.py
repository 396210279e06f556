"""Non-linear DAS: an invertible map, some of whose coordinates bring the source's answer when swapped."""

from __future__ import annotations

from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.coordinate_maps import CoordinateMap, MapForm
from das.featurizers.reversible import ReversibleMap
from das.methods.common.alignment import check_attribute, check_size, fit_seed, random_columns
from das.methods.common.base import NotApplicableError, Problem, TrainedMethod, Workspace
from das.methods.common.labelled import plain_vectors
from das.methods.common.tasks import MixedPairsConfig, cause_task, mixed_task
from das.methods.trained._reversible import TrainableMap, monotone_start, revnet_start
from das.training.loop import training
from das.training.together import Training
from ravel.common.seeds import derive_seed

INVERSE_TOLERANCE = 1e-5
"""Largest relative error of the way back."""


class NonlinearDasConfig(MixedPairsConfig):
    """Settings of nonlinear_das."""

    map: MapForm = "revnet"
    """`revnet`: an orthogonal matrix, then additive couplings of the two halves of the coordinates;
    `monotone`: orthogonal matrices with a monotone function of each coordinate in between."""
    blocks: PositiveInt = 2
    """Pairs of couplings, or monotone functions with the matrix after them (reference: 1 to 16)."""
    hidden: PositiveInt = 64
    """Width of a coupling's hidden layer (reference: 64); `monotone` has none."""
    isolate: bool = True
    """Train on the isolate pairs of every other attribute too, as MDAS does; without, those settings of MDAS
    that concern them do nothing."""
    learning_rate: PositiveFloat = 1e-2
    """Peak rate of AdamW (reference: 5e-4)."""
    vectors: PositiveInt = 8000
    """Most training vectors whose mean and spread are the units of the map."""


class NonlinearDas(TrainedMethod[NonlinearDasConfig]):
    """Distributed alignment search with an invertible map that is not linear (Sutter et al. 2025, arXiv
    2507.08802), by the objective of MDAS or, without `isolate`, of DAS.

    `out = base + (phi^-1(y) - phi^-1(phi(base)))`, where y has the first `size` coordinates of phi(source)
    and the rest of phi(base). Training starts where phi is an orthogonal matrix, at what MDAS starts at. Such
    a map can bring an answer that the model does not have: on a network with random weights the reference
    reaches all of them. So a row of a suite always comes with its twin on random weights and its diversity
    ratio. Departures are told at `RevNet` and `Monotone`; the reference swaps half of the coordinates.
    """

    name = "nonlinear_das"
    summary = "Coordinates of an invertible map that is not linear (cause + isolate)"
    config_class = NonlinearDasConfig
    needs_vectors = True
    needs_pairs = True
    fits_nonlinear_map = True

    def training(self, problem: Problem, engine: Engine, workspace: Workspace) -> Training[Featurizer]:
        """Train a `ReversibleMap`. Raises SuiteError for an unknown attribute or layer, a size beyond the
        width, and a target, or with `isolate` others, without training pairs; NotApplicableError where the
        size leaves no coordinate in place, vectors are all the same, or the way back is lost in rounding."""
        check_attribute(problem)
        check_size(problem, engine)
        _check_room(problem, engine.target.width(problem.site))
        task = (mixed_task if self.config.isolate else cause_task)(self, problem, engine)
        vectors = plain_vectors(
            problem.instance, engine, problem.site, limit=self.config.vectors, seed=problem.seed
        )
        trainable = TrainableMap(self._start(problem, vectors), problem.size).to(engine.target.device)
        found = yield from training(trainable, task, engine, workspace, self.config)
        assert isinstance(found, ReversibleMap)
        error = found.inverse_error(vectors)
        workspace.log({"phase": "inverse", "error": error})
        _check_inverse(error)
        return found

    def _start(self, problem: Problem, vectors: Tensor) -> CoordinateMap:
        config, seed, width = self.config, derive_seed(fit_seed(self, problem), "start"), vectors.shape[1]
        units, rotation = _units(vectors, problem), random_columns(width, width, seed)
        if config.map == "monotone":
            return monotone_start(units, rotation, config.blocks)
        return revnet_start(units, rotation, config.blocks, config.hidden, derive_seed(seed, "couplings"))


def _units(vectors: Tensor, problem: Problem) -> dict[str, Tensor]:
    """Return the mean of vectors [n, d_model] and the root mean square of what is left of an entry."""
    wide = vectors.double()
    mean = wide.mean(dim=0)
    scale = (wide - mean).square().mean().sqrt()
    if not float(scale) > 0:
        raise NotApplicableError(
            expected=f"vectors at {problem.site} that differ between prompts",
            came=f"{len(vectors)} equal ones",
            todo="choose another site",
        )
    return {"centre": mean.float(), "scale": scale.float()}


def _check_room(problem: Problem, width: int) -> None:
    if problem.size >= width:
        raise NotApplicableError(
            expected=f"a size from 1 to {width - 1}, so that some coordinate at {problem.site} stays",
            came=str(problem.size),
            todo="choose a smaller --dim, or full_vector, which is what any map swaps as a whole",
        )


def _check_inverse(error: float) -> None:
    if not error <= INVERSE_TOLERANCE:
        raise NotApplicableError(
            expected=f"a map whose way back is right to {INVERSE_TOLERANCE:g}, relative to the distance "
            "of a vector from the mean",
            came=f"an error of {error:.2g}, for it has become too steep",
            todo="give nonlinear_das a lower learning_rate or fewer blocks",
        )


METHOD = NonlinearDas
