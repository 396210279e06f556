"""MDBM over the latents of a sparse autoencoder: those whose interchange brings the target's value only."""

from __future__ import annotations

from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.dictionary import Dictionary
from das.methods.common.base import Problem, TrainedMethod, Workspace
from das.methods.common.tasks import mixed_task
from das.methods.dictionaries._dictionaries import (
    ChoosesLatents,
    SwappingConfig,
    log_latents,
    site_dictionary,
)
from das.methods.masks._masks import MixedMaskConfig, train_mask
from das.training.together import Training


class MdbmSaeConfig(MixedMaskConfig, SwappingConfig):
    """Settings of mdbm_sae: those of mdbm, and the dictionary's."""


class MdbmSae(ChoosesLatents[MdbmSaeConfig], TrainedMethod[MdbmSaeConfig]):
    """Differential binary masking over latents, trained on the target's cause and the others' isolate pairs.

    As in the RAVEL task of SAEBench (Karvonen et al. 2025, arXiv 2503.09532), with `mdbm`'s training.
    Departures: the error stays with the base unless `keeps_error` is off; entities and templates of the
    scored pairs are held out.
    """

    name = "mdbm_sae"
    summary = "Latents of a sparse autoencoder, chosen by a mask trained on cause and isolate"
    config_class = MdbmSaeConfig
    needs_size = False
    needs_pairs = True

    def training(self, problem: Problem, engine: Engine, workspace: Workspace) -> Training[Featurizer]:
        """Train a `Dictionary` with a hard mask, which may be empty. Raises SuiteError as `mdbm` does, and
        whatever loading or training the dictionary does."""
        config = self.config
        task = mixed_task(self, problem, engine)
        dictionary = site_dictionary(problem, engine, workspace, config.autoencoder)
        here = dictionary.to(engine.target.device)

        def make(mask: Tensor) -> Featurizer:
            return here.with_mask(mask, keeps_error=config.keeps_error)

        size = here.n_features
        trained = yield from train_mask(task, engine, workspace, config, make=make, n_features=size)
        assert isinstance(trained, Dictionary)
        log_latents(workspace, (trained.weights > 0).nonzero()[:, 0])
        return trained.pruned()


METHOD = MdbmSae
