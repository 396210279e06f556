"""The latent that tells a value best, set to the level that it has where the value is."""

from __future__ import annotations

from das.edits.forms import Clamp
from das.engine.base.protocol import Engine
from das.methods.common.base import Problem, Workspace
from das.methods.common.concepts import AboutConcepts
from das.methods.detection.sae_latent import SaeLatentConfig, telling_latents


class SaeClampConfig(SaeLatentConfig):
    """Settings of sae_clamp."""

    only_up: bool = False
    """Leave a latent that is higher than its level (AxBench's min-clamp)."""


class SaeClamp(AboutConcepts[SaeClampConfig]):
    """Clamping of AxBench (Wu et al. 2025, arXiv 2501.17148) with the latents of `sae_latent`: each is set to
    the highest level that it has on a training vector with the value. The error stays."""

    name = "sae_clamp"
    summary = "Sets the latent that tells a value best to its level where the value is"
    config_class = SaeClampConfig
    finds = "edit"
    needs_vectors = True
    draws = True

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Clamp:
        """Return a `Clamp`. Raises what `concepts` and the dictionary raise."""
        told = self.concepts(problem, workspace).values
        found = telling_latents(problem, engine, workspace, self.config, told)
        levels = found.features.where(found.has, found.features.new_zeros(())).amax(dim=0)
        return Clamp(
            problem.attribute,
            told,
            found.readers,
            found.bias,
            found.writers,
            levels,
            only_up=self.config.only_up,
        )


METHOD = SaeClamp
