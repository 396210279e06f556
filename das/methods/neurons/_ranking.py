"""From scores of neurons to the hard mask of the best; it does not know where the scores come from."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.masked import MaskedBasis
from das.methods.common.alignment import shared_by_sizes
from das.methods.common.base import FromClasses, Problem, Settings, Workspace

Figures = dict[str, float]


class RankedNeurons(FromClasses[Settings]):
    """A method that scores every neuron by vectors with classes and swaps the `size` best, whole."""

    @abstractmethod
    def order(self, problem: Problem, engine: Engine) -> tuple[Tensor, Figures]:
        """Return the neurons, best first, [d_model] in int64, and figures for the log."""

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Featurizer:
        """Return a `MaskedBasis` of the first `size` neurons of the order, made once for all sizes."""

        def make() -> dict[str, Tensor]:
            neurons, figures = self.order(problem, engine)
            return {"neurons": neurons, **{name: torch.tensor([value]) for name, value in figures.items()}}

        shared = shared_by_sizes(self, problem, engine, workspace, make)
        workspace.log({name: value.item() for name, value in shared.items() if name != "neurons"})
        return chosen_neurons(shared["neurons"][: problem.size], engine.target.width(problem.site))


def chosen_neurons(neurons: Tensor, width: int) -> MaskedBasis:
    """Return the swap of these neurons [k] out of `width`."""
    return MaskedBasis(torch.zeros(width).index_fill(0, neurons, 1.0))


def ranking(*scores: NDArray[np.float64]) -> Tensor:
    """Return the neurons by descending score, [d_model] in int64. Ties go to the next array of scores
    [d_model], and in the end to the smaller index. What is not a number counts as 0."""
    cleaned = [-np.where(np.isnan(score), 0.0, score) for score in scores]
    return torch.from_numpy(np.lexsort(cleaned[::-1]).astype(np.int64))
