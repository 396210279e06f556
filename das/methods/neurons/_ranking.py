"""From scores of neurons to the hard mask of the best; it does not know where the scores come from."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.masked import MaskedBasis
from das.methods.common.alignment import shared_by_sizes
from das.methods.common.base import Method, Problem, Workspace

__all__ = ["RankedNeurons", "ranking"]

Figures = dict[str, float]


class RankedNeurons(Method):
    """A method that scores every neuron by labelled vectors and swaps the `size` best, whole.

    One ranking serves all sizes; nothing in it is drawn.
    """

    needs_labels: ClassVar[bool] = True
    draws: ClassVar[bool] = False

    def ranked(
        self,
        problem: Problem,
        engine: Engine,
        workspace: Workspace,
        order: Callable[[], tuple[Tensor, Figures]],
    ) -> MaskedBasis:
        """Return a `MaskedBasis` of the first `size` neurons of the order, which is made once for all sizes.

        `order` returns the neurons, best first, [d_model] in int64, and figures for the log.
        """

        def make() -> dict[str, Tensor]:
            neurons, figures = order()
            named = {name: torch.tensor([value]) for name, value in figures.items()}
            return {"neurons": neurons, **named}

        found = shared_by_sizes(self, problem, engine, workspace, make)
        workspace.log({name: value.item() for name, value in found.items() if name != "neurons"})
        mask = torch.zeros(engine.target.width(problem.site))
        mask[found["neurons"][: problem.size]] = 1.0
        return MaskedBasis(mask, None)


def ranking(*scores: NDArray[np.float64]) -> Tensor:
    """Return the neurons by descending score, [d_model] in int64.

    Ties go to the next array of scores [d_model], and in the end to the smaller index. What is not a number
    counts as 0.
    """
    cleaned = [-np.where(np.isnan(score), 0.0, score) for score in scores]
    return torch.from_numpy(np.lexsort(cleaned[::-1]).astype(np.int64))
