"""The floor that checks the instrument: nothing is swapped, so cause is 0 and isolate is 1."""

from __future__ import annotations

import torch

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.masked import MaskedBasis
from das.methods.common.base import Method, Problem, Workspace


class NoOp(Method):
    """Swaps no coordinate. A score below this row's is worse than doing nothing."""

    name = "no_op"
    summary = "Swaps nothing: cause 0, isolate 1 by construction"
    needs_attribute = False
    needs_size = False
    draws = False

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Featurizer:
        """Return a `MaskedBasis` with an empty mask. Raises SuiteError if the model lacks the layer."""
        engine.target.check(problem.site)
        return MaskedBasis(torch.zeros(engine.target.width(problem.site)))


METHOD = NoOp
