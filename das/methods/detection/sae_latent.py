"""One latent of an autoencoder for each value: the one that tells it best on training vectors."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import PositiveInt
from scipy.stats import rankdata
from torch import Tensor

from das.detectors.directions import Directions
from das.engine.base.protocol import Engine
from das.featurizers.dictionary import Dictionary
from das.methods.common.base import Problem, Workspace
from das.methods.common.concepts import concept_vectors, has_tensor
from das.methods.detection._directions import FindsDetector
from das.methods.dictionaries._dictionaries import DictionaryConfig, site_dictionary


class SaeLatentConfig(DictionaryConfig):
    """Settings of sae_latent."""

    vectors: PositiveInt = 4000
    """Most training vectors by which latents are ranked; more are sampled, always the same."""


class SaeLatent(FindsDetector[SaeLatentConfig]):
    """The latent with the largest area under the ROC curve on training vectors (SAE-A of AxBench, Wu et al.
    2025, arXiv 2501.17148), ties to the lower index. A latent is read by itself: its pre-activation through a
    ReLU, less its threshold under `jump_relu`; under `top_k` as if latents did not compete."""

    name = "sae_latent"
    summary = "Tells a value by the one latent of a sparse autoencoder that tells it best"
    config_class = SaeLatentConfig
    needs_vectors = True
    draws = True

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Directions:
        """Return the latents' `Directions`. Raises what `concepts` and the dictionary raise."""
        told = self.concepts(problem, workspace).values
        dictionary = site_dictionary(problem, engine, workspace, self.config.autoencoder).cpu()
        readers, bias = latent_readers(dictionary)
        known = concept_vectors(
            problem.instance, problem.attribute, problem.site, engine, self.config.vectors
        )
        features = (known.vectors @ readers + bias).relu()
        places = best_columns(features, has_tensor(known, told))
        workspace.log({"phase": "latents", "chosen": " ".join(map(str, places.tolist()))})
        return Directions(
            problem.attribute,
            told,
            readers[:, places],
            bias[places],
            writers=dictionary.decoder[places].mT,
            rectified=True,
        )


def latent_readers(dictionary: Dictionary) -> tuple[Tensor, Tensor]:
    """Return what latents are read by: directions [d_model, n_latents] and numbers to add, [n_latents]."""
    bias = dictionary.encoder_bias - dictionary.centre @ dictionary.encoder
    if dictionary.threshold is not None:
        bias = bias - dictionary.threshold
    return dictionary.encoder, bias


def best_columns(features: Tensor, has: Tensor) -> Tensor:
    """Return for each value the column of features [n, m] with the largest area under the ROC curve for who
    has it, bool [n, n_values]; [n_values] in int64, ties to the lower column."""
    # The area is the sum of the positives' ranks, up to what all columns share; ties have the middle rank.
    ranks = rankdata(features.detach().numpy(), axis=0)
    sums = has.numpy().astype(np.float64).T @ ranks
    return torch.from_numpy(sums.argmax(axis=1))


METHOD = SaeLatent
