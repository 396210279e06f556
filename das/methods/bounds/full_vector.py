"""The ceiling of cause: the whole vector is swapped, so no part of it can bring more of the source."""

from __future__ import annotations

import torch

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.masked import MaskedBasis
from das.methods.common.base import Method, Problem, Workspace


class FullVector(Method):
    """Swaps every coordinate: what can be brought at this site at all, and everything else with it."""

    name = "full_vector"
    summary = "Swaps the whole vector: the ceiling of cause"
    needs_attribute = False
    needs_size = False
    draws = False

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Featurizer:
        """Return a `MaskedBasis` with a full mask. Raises SuiteError if the model lacks the layer."""
        engine.target.check(problem.site)
        return MaskedBasis(torch.ones(engine.target.width(problem.site)))


METHOD = FullVector
