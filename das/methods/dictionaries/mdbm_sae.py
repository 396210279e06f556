"""MDBM over the latents of a sparse autoencoder: those whose interchange brings the target's value only."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.dictionary import Dictionary
from das.methods.common.alignment import check_attribute
from das.methods.common.base import MethodConfig, Problem, TrainedMethod, Workspace
from das.methods.dictionaries._dictionaries import SwappingConfig, most_latents, site_dictionary
from das.methods.masks._masks import MixedMaskConfig, train_mixed_mask
from das.training.together import Training

__all__ = ["METHOD", "MdbmSae", "MdbmSaeConfig"]


class MdbmSaeConfig(MixedMaskConfig, SwappingConfig):
    """Settings of mdbm_sae: those of mdbm, and the dictionary's."""


class MdbmSae(TrainedMethod):
    """Differential binary masking over latents, trained on the target's cause and the others' isolate pairs.

    As in the RAVEL task of SAEBench (Karvonen et al. 2025, arXiv 2503.09532), with `mdbm`'s training.
    Departures: the error stays with the base unless `keeps_error` is off; entities and templates of the
    scored pairs are held out.
    """

    name: ClassVar[str] = "mdbm_sae"
    summary: ClassVar[str] = "Latents of a sparse autoencoder, chosen by a mask trained on cause and isolate"
    config_class: ClassVar[type[MethodConfig]] = MdbmSaeConfig
    needs_attribute: ClassVar[bool] = True
    needs_size: ClassVar[bool] = False
    needs_vectors: ClassVar[bool] = True
    needs_pairs: ClassVar[bool] = True

    def largest_size(self, width: int) -> int:
        """Return the number of latents."""
        assert isinstance(self.config, MdbmSaeConfig)
        return most_latents(width, self.config.autoencoder)

    def training(self, problem: Problem, engine: Engine, workspace: Workspace) -> Training[Featurizer]:
        """Train a `Dictionary` with a hard mask, which may be empty.

        Raises SuiteError as `mdbm` does, and whatever loading or training the dictionary does.
        """
        config = self.config
        assert isinstance(config, MdbmSaeConfig)
        check_attribute(problem)
        dictionary = site_dictionary(problem, engine, workspace, config.autoencoder)
        here = dictionary.to(engine.target.device)

        def make(mask: Tensor) -> Featurizer:
            return here.with_mask(mask, keeps_error=config.keeps_error)

        found = yield from train_mixed_mask(
            self, problem, engine, workspace, config, make=make, n_features=here.n_features
        )
        assert isinstance(found, Dictionary)
        places = (found.weights > 0).nonzero()[:, 0]
        workspace.log({"phase": "latents", "chosen": " ".join(map(str, places.tolist()))})
        return found.pruned()


METHOD = MdbmSae
