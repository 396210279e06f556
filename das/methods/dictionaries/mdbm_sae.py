"""MDBM over the latents of a sparse autoencoder: those whose interchange brings the target's value only."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.dictionary import Dictionary
from das.methods.common.base import MethodConfig, Problem, TrainedMethod, Workspace
from das.methods.common.tasks import mixed_task
from das.methods.dictionaries._dictionaries import (
    ChoosesLatents,
    SwappingConfig,
    log_latents,
    site_dictionary,
)
from das.methods.masks._masks import MixedMaskConfig, train_mask
from das.training.together import Training

__all__ = ["METHOD", "MdbmSae", "MdbmSaeConfig"]


class MdbmSaeConfig(MixedMaskConfig, SwappingConfig):
    """Settings of mdbm_sae: those of mdbm, and the dictionary's."""


class MdbmSae(ChoosesLatents, TrainedMethod):
    """Differential binary masking over latents, trained on the target's cause and the others' isolate pairs.

    As in the RAVEL task of SAEBench (Karvonen et al. 2025, arXiv 2503.09532), with `mdbm`'s training.
    Departures: the error stays with the base unless `keeps_error` is off; entities and templates of the
    scored pairs are held out.
    """

    name: ClassVar[str] = "mdbm_sae"
    summary: ClassVar[str] = "Latents of a sparse autoencoder, chosen by a mask trained on cause and isolate"
    config_class: ClassVar[type[MethodConfig]] = MdbmSaeConfig
    needs_size: ClassVar[bool] = False
    needs_pairs: ClassVar[bool] = True

    def training(self, problem: Problem, engine: Engine, workspace: Workspace) -> Training[Featurizer]:
        """Train a `Dictionary` with a hard mask, which may be empty.

        Raises SuiteError as `mdbm` does, and whatever loading or training the dictionary does.
        """
        config = self.config
        assert isinstance(config, MdbmSaeConfig)
        task = mixed_task(self, problem, engine, config)
        dictionary = site_dictionary(problem, engine, workspace, config.autoencoder)
        here = dictionary.to(engine.target.device)

        def make(mask: Tensor) -> Featurizer:
            return here.with_mask(mask, keeps_error=config.keeps_error)

        found = yield from train_mask(task, engine, workspace, config, make=make, n_features=here.n_features)
        assert isinstance(found, Dictionary)
        places = (found.weights > 0).nonzero()[:, 0]
        log_latents(workspace, places)
        return found.pruned()


METHOD = MdbmSae
