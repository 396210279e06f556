"""The floor that checks the instrument: nothing is swapped, so cause is 0 and isolate is 1."""

from __future__ import annotations

from typing import ClassVar

import torch

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.masked import MaskedBasis
from das.methods.common.base import Method, MethodConfig, Problem, Workspace

__all__ = ["METHOD", "NoOp", "NoOpConfig"]


class NoOpConfig(MethodConfig):
    """Settings of no_op: none."""


class NoOp(Method):
    """Swaps no coordinate. A score below this row's is worse than doing nothing."""

    name: ClassVar[str] = "no_op"
    summary: ClassVar[str] = "Swaps nothing: cause 0, isolate 1 by construction"
    config_class: ClassVar[type[MethodConfig]] = NoOpConfig
    needs_attribute: ClassVar[bool] = False
    needs_size: ClassVar[bool] = False
    draws: ClassVar[bool] = False

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Featurizer:
        """Return a `MaskedBasis` with an empty mask. Raises SuiteError if the model lacks the layer."""
        engine.target.check(problem.site)
        return MaskedBasis(torch.zeros(engine.target.width(problem.site)), None)


METHOD = NoOp
