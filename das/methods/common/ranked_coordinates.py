"""Coordinates of any rotation, or the neurons themselves, ranked by the gradient of the answer; where the
rotation comes from is not known here."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.masked import MaskedBasis
from das.methods.common.alignment import shared_by_sizes
from das.methods.common.attribution import AttributionConfig, feature_attribution
from das.methods.common.base import Method, MethodConfig, Problem, Workspace
from ravel.common.seeds import derive_seed


class RankedCoordinatesConfig(AttributionConfig, MethodConfig):
    """Settings of a method that ranks coordinates."""


RankedSettings = TypeVar("RankedSettings", bound=RankedCoordinatesConfig)


class RanksCoordinates(Method[RankedSettings]):
    """Swaps the `size` coordinates that attribution patching ranks highest for the target.

    A coordinate's rank is the slope of the answer in its interchange (Nanda 2023; Kramar et al. 2024, arXiv
    2403.00745), or its integral, over cause pairs, less the absolute slope over isolate pairs; see
    `feature_attribution`. Bases are orthonormal, so that a coordinate's interchange is an orthogonal
    projection. No mask is trained; the ranking serves every size.
    """

    needs_pairs = True

    @abstractmethod
    def basis(self, problem: Problem, engine: Engine, workspace: Workspace, seed: int) -> Tensor | None:
        """Return orthonormal columns [width, width], on the CPU; None for the neurons."""

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Featurizer:
        """Return a `MaskedBasis` of `size` coordinates. Raises SuiteError for an unknown attribute, a size
        beyond the width, or a target without training pairs."""
        seed = derive_seed(problem.seed, self.name, problem.attribute, str(problem.site))

        def make() -> dict[str, Tensor]:
            basis = self.basis(problem, engine, workspace, seed)
            found = {} if basis is None else {"basis": basis}
            return {**found, "attribution": self._attribution(problem, engine, basis, seed)}

        shared = shared_by_sizes(self, problem, engine, workspace, make, seed=seed)
        attribution = shared["attribution"]
        chosen = attribution.argsort(descending=True, stable=True)[: problem.size]
        workspace.log(
            {
                "phase": "attribution",
                "chosen": float(attribution[chosen].sum()),
                "positive": int((attribution > 0).sum()),
            }
        )
        return MaskedBasis(torch.zeros(len(attribution)).index_fill(0, chosen, 1.0), shared.get("basis"))

    def _attribution(self, problem: Problem, engine: Engine, basis: Tensor | None, seed: int) -> Tensor:
        here = None if basis is None else basis.to(engine.target.device)
        width = engine.target.width(problem.site)
        swapping = partial(MaskedBasis, basis=here)
        return feature_attribution(problem, engine, swapping, width, config=self.config, seed=seed)
