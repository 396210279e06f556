"""One latent of an autoencoder for each value: the one that tells it best on training vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
from das.methods.dictionaries._dictionaries import DictionaryConfig, log_latents, site_dictionary


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
        found = telling_latents(problem, engine, workspace, self.config, told)
        log_latents(workspace, found.places)
        return Directions(
            problem.attribute, told, found.readers, found.bias, writers=found.writers, rectified=True
        )


@dataclass(frozen=True, slots=True)
class TellingLatents:
    """For each value the latent that tells it best."""

    places: Tensor
    """Which latents, [n_values] in int64."""
    readers: Tensor
    """Directions by which they are read, [d_model, n_values]."""
    bias: Tensor
    """What is added to that, [n_values]."""
    writers: Tensor
    """Directions in which they write, [d_model, n_values]."""
    features: Tensor
    """What they are on the training vectors, through a ReLU, [n, n_values]."""
    has: Tensor
    """Which of these vectors has which value, bool [n, n_values]."""


def telling_latents(
    problem: Problem, engine: Engine, workspace: Workspace, config: SaeLatentConfig, told: Sequence[str]
) -> TellingLatents:
    """Return the latents of the site's dictionary that tell values best on training vectors. Raises what the
    dictionary raises."""
    dictionary = site_dictionary(problem, engine, workspace, config.autoencoder).cpu()
    readers, bias = latent_readers(dictionary)
    known = concept_vectors(problem.instance, problem.attribute, problem.site, engine, config.vectors)
    features, has = (known.vectors @ readers + bias).relu(), has_tensor(known, told)
    places = best_columns(features, has)
    writers = dictionary.decoder[places].mT
    return TellingLatents(places, readers[:, places], bias[places], writers, features[:, places], has)


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
