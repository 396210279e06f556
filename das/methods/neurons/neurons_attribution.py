"""Neurons ranked by the gradient of the answer: what each brings of the target, less its leak."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.masked import MaskedBasis
from das.methods.common.alignment import shared_by_sizes
from das.methods.common.attribution import AttributionConfig, feature_attribution
from das.methods.common.base import Method, MethodConfig, Problem, Workspace
from ravel.common.seeds import derive_seed

__all__ = ["METHOD", "NeuronsAttribution", "NeuronsAttributionConfig"]


class NeuronsAttributionConfig(AttributionConfig, MethodConfig):
    """Settings of neurons_attribution."""


class NeuronsAttribution(Method):
    """Swaps the `size` neurons that attribution patching ranks highest for the target.

    A neuron's rank is the slope of the answer in its interchange (Nanda 2023; Kramar et al. 2024, arXiv
    2403.00745), or its integral, over cause pairs, less the absolute slope over isolate pairs; see
    `feature_attribution`. No mask is trained; the ranking serves every size.
    """

    name: ClassVar[str] = "neurons_attribution"
    summary: ClassVar[str] = "Neurons ranked by the gradient of the answer in their interchange"
    config_class: ClassVar[type[MethodConfig]] = NeuronsAttributionConfig
    needs_pairs: ClassVar[bool] = True

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Featurizer:
        """Return a `MaskedBasis` of `size` neurons.

        Raises SuiteError for an unknown attribute, a size beyond the width, or a target without training
        pairs.
        """
        attribution = self._attribution(problem, engine, workspace)
        chosen = attribution.argsort(descending=True, stable=True)[: problem.size]
        workspace.log(
            {
                "phase": "attribution",
                "chosen": float(attribution[chosen].sum()),
                "positive": int((attribution > 0).sum()),
            }
        )
        return MaskedBasis(torch.zeros(len(attribution)).index_fill(0, chosen, 1.0), None)

    def _attribution(self, problem: Problem, engine: Engine, workspace: Workspace) -> Tensor:
        config, attribute = self.config, problem.attribute
        assert isinstance(config, NeuronsAttributionConfig)
        seed = derive_seed(problem.seed, self.name, attribute, str(problem.site))

        def make() -> dict[str, Tensor]:
            width = engine.target.width(problem.site)
            found = feature_attribution(problem, engine, MaskedBasis, width, config=config, seed=seed)
            return {"attribution": found}

        return shared_by_sizes(self, problem, engine, workspace, make, seed=seed)["attribution"]


METHOD = NeuronsAttribution
