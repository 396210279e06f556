"""Latents of a sparse autoencoder, chosen by gradients: what each brings of the target less its leak."""

from __future__ import annotations

from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.dictionary import Dictionary
from das.methods.common.attribution import AttributionConfig, feature_attribution
from das.methods.common.base import Problem, Workspace
from das.methods.dictionaries._dictionaries import RanksLatents, SwappingConfig


class SaeAttributionConfig(AttributionConfig, SwappingConfig):
    """Settings of sae_attribution."""


class SaeAttribution(RanksLatents[SaeAttributionConfig]):
    """Swaps the latents with the highest attribution, if it is above 0: cause minus `leak_weight` times leak.

    Attribution of latents as in Marks et al. 2024 (arXiv 2403.19647), with the leak to other attributes
    taken off; see `feature_attribution`. Where the error is kept, gradients are taken through the latents
    alone, for the error is the base's.
    """

    name = "sae_attribution"
    summary = "Latents of a sparse autoencoder, chosen by gradient times source minus base"
    config_class = SaeAttributionConfig
    needs_pairs = True

    def ranked(
        self, problem: Problem, engine: Engine, workspace: Workspace, dictionary: Dictionary, seed: int
    ) -> Tensor:
        """Return the latents that bring more than they disturb. Raises SuiteError without training pairs."""
        config, here = self.config, dictionary.to(engine.target.device)

        def make(mask: Tensor) -> Featurizer:
            return here.with_mask(mask, keeps_error=config.keeps_error)

        def attribute() -> dict[str, Tensor]:
            scores = feature_attribution(problem, engine, make, here.n_features, config=config, seed=seed)
            return {"attribution": scores}

        key = self.ranking_key("sae-attribution", problem, engine, seed)
        scores = workspace.shared(key, attribute)["attribution"]
        order = scores.argsort(descending=True, stable=True)
        return order[scores[order] > 0]


METHOD = SaeAttribution
