"""The ceiling of cause: the whole vector is swapped, so no part of it can bring more of the source."""

from __future__ import annotations

from typing import ClassVar

import torch

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.masked import MaskedBasis
from das.methods.common.base import Method, MethodConfig, Problem, Workspace

__all__ = ["METHOD", "FullVector", "FullVectorConfig"]


class FullVectorConfig(MethodConfig):
    """Settings of full_vector: none."""


class FullVector(Method):
    """Swaps every coordinate: what can be brought at this site at all, and everything else with it."""

    name: ClassVar[str] = "full_vector"
    summary: ClassVar[str] = "Swaps the whole vector: the ceiling of cause"
    config_class: ClassVar[type[MethodConfig]] = FullVectorConfig
    needs_attribute: ClassVar[bool] = False
    needs_size: ClassVar[bool] = False
    draws: ClassVar[bool] = False

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Featurizer:
        """Return a `MaskedBasis` with a full mask. Raises SuiteError if the model lacks the layer."""
        engine.target.check(problem.site)
        return MaskedBasis(torch.ones(engine.target.width(problem.site)), None)


METHOD = FullVector
