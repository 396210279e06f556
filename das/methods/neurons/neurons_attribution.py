"""Neurons ranked by the gradient of the answer: what each brings of the target, less its leak."""

from __future__ import annotations

from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.masked import MaskedBasis
from das.methods.common.alignment import shared_by_sizes
from das.methods.common.attribution import AttributionConfig, feature_attribution
from das.methods.common.base import Method, MethodConfig, Problem, Workspace
from das.methods.neurons._ranking import chosen_neurons
from ravel.common.seeds import derive_seed


class NeuronsAttributionConfig(AttributionConfig, MethodConfig):
    """Settings of neurons_attribution."""


class NeuronsAttribution(Method[NeuronsAttributionConfig]):
    """Swaps the `size` neurons that attribution patching ranks highest for the target.

    A neuron's rank is the slope of the answer in its interchange (Nanda 2023; Kramar et al. 2024, arXiv
    2403.00745), or its integral, over cause pairs, less the absolute slope over isolate pairs; see
    `feature_attribution`. No mask is trained; the ranking serves every size.
    """

    name = "neurons_attribution"
    summary = "Neurons ranked by the gradient of the answer in their interchange"
    config_class = NeuronsAttributionConfig
    needs_pairs = True

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Featurizer:
        """Return a `MaskedBasis` of `size` neurons. Raises SuiteError for an unknown attribute, a size beyond
        the width, or a target without training pairs."""
        attribution = self._attribution(problem, engine, workspace)
        chosen = attribution.argsort(descending=True, stable=True)[: problem.size]
        workspace.log(
            {
                "phase": "attribution",
                "chosen": float(attribution[chosen].sum()),
                "positive": int((attribution > 0).sum()),
            }
        )
        return chosen_neurons(chosen, len(attribution))

    def _attribution(self, problem: Problem, engine: Engine, workspace: Workspace) -> Tensor:
        seed = derive_seed(problem.seed, self.name, problem.attribute, str(problem.site))

        def make() -> dict[str, Tensor]:
            width = engine.target.width(problem.site)
            scores = feature_attribution(problem, engine, MaskedBasis, width, config=self.config, seed=seed)
            return {"attribution": scores}

        return shared_by_sizes(self, problem, engine, workspace, make, seed=seed)["attribution"]


METHOD = NeuronsAttribution
