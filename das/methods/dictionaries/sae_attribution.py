"""Latents of a sparse autoencoder, chosen by gradients: what each brings of the target and disturbs of the
rest."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.methods.common.alignment import check_attribute
from das.methods.common.attribution import AttributionConfig, feature_attribution
from das.methods.common.base import MethodConfig, Problem, Workspace
from das.methods.dictionaries._dictionaries import (
    ChoosesLatents,
    SwappingConfig,
    check_latents,
    chosen,
    log_latents,
    site_dictionary,
)

__all__ = ["METHOD", "SaeAttribution", "SaeAttributionConfig"]


class SaeAttributionConfig(AttributionConfig, SwappingConfig):
    """Settings of sae_attribution."""


class SaeAttribution(ChoosesLatents):
    """Swaps the latents with the highest attribution, if it is above 0: cause minus `leak_weight` times leak.

    Attribution of latents as in Marks et al. 2024 (arXiv 2403.19647), with the leak to other attributes
    taken off; see `feature_attribution`. Where the error is kept, gradients are taken through the latents
    alone, for the error is the base's.
    """

    name: ClassVar[str] = "sae_attribution"
    summary: ClassVar[str] = "Latents of a sparse autoencoder, chosen by gradient times source minus base"
    config_class: ClassVar[type[MethodConfig]] = SaeAttributionConfig
    needs_pairs: ClassVar[bool] = True

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Featurizer:
        """Return a `Dictionary` with at most `size` latents chosen; one that nothing depends on is never.

        Raises SuiteError for an unknown attribute, one without training pairs, or a size beyond the number of
        latents, and whatever loading or training the dictionary does.
        """
        config = self.config
        assert isinstance(config, SaeAttributionConfig)
        check_attribute(problem)
        dictionary = site_dictionary(problem, engine, workspace, config.autoencoder)
        check_latents(problem, dictionary)
        seed = self.latents_seed(problem)
        here = dictionary.to(engine.target.device)

        def make(mask: Tensor) -> Featurizer:
            return here.with_mask(mask, keeps_error=config.keeps_error)

        def attribute() -> dict[str, Tensor]:
            found = feature_attribution(problem, engine, make, here.n_features, config=config, seed=seed)
            return {"attribution": found}

        key = self.latents_key("sae-attribution", problem, engine)
        scores = workspace.shared(key, attribute)["attribution"]
        order = scores.argsort(descending=True, stable=True)
        # A latent that would disturb more than it brings is worse than none.
        places = order[scores[order] > 0][: problem.size].cpu()
        log_latents(workspace, places)
        return chosen(dictionary.cpu(), places, keeps_error=config.keeps_error)


METHOD = SaeAttribution
