"""Latents of a sparse autoencoder that an L1 classifier of the target's values needs."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field, PositiveFloat, PositiveInt
from scipy.sparse import csr_matrix
from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.dictionary import Dictionary
from das.methods.common.base import Problem, Workspace
from das.methods.common.labelled import LabelledVectors, labelled_vectors
from das.methods.common.probe import fit_sparse_margins
from das.methods.dictionaries._dictionaries import RanksLatents, SwappingConfig

_ALMOST_NOTHING = 1e-8
"""Weights of the classifier below this, per unit of a latent's root mean square, count as 0."""


class SaeConfig(SwappingConfig):
    """Settings of sae."""

    vectors: PositiveInt = 4000
    """Most labelled vectors for the classifier; more are sampled."""
    costs: tuple[PositiveFloat, ...] = Field(default=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3), min_length=1)
    """What a classification error costs against the L1 norm, ascending: the path along which latents enter
    (reference: one of 0.1, 10, 100, 1000)."""
    iterations: PositiveInt = 300
    """Most passes of the classifier's solver per cost."""


class Sae(RanksLatents[SaeConfig]):
    """Swaps the latents that a linear classifier with L1 penalty uses to tell the target's values apart.

    The SAE row of RAVEL (Huang et al. 2024, arXiv 2402.17700): one-vs-rest support vector machines on the
    latents. Departures: the reference takes every latent with a weight at one cost, so that the number is
    what it happens to be; here latents are ranked by the lowest cost at which they get a weight, then by the
    sum of its absolute value over the classes, and the first `size` are taken, so that sizes are nested.
    Latents are divided by their root mean square. The error stays with the base unless `keeps_error` is off.
    """

    name = "sae"
    summary = "Latents of a sparse autoencoder, chosen by an L1 classifier of the target's values"
    config_class = SaeConfig
    needs_labels = True

    def ranked(
        self, problem: Problem, engine: Engine, workspace: Workspace, dictionary: Dictionary, seed: int
    ) -> Tensor:
        """Return the latents that the classifiers need. Raises NotApplicableError without classes."""
        config = self.config

        def rank() -> dict[str, Tensor]:
            data = labelled_vectors(problem, engine, limit=config.vectors, seed=seed)
            return {"order": latents_by_l1(_features(dictionary.encode(data.vectors)), data, config, seed)}

        key = self.ranking_key("sae-latents", problem, engine, seed, "keeps_error")
        return workspace.shared(key, rank)["order"]


def latents_by_l1(features: csr_matrix, data: LabelledVectors, config: SaeConfig, seed: int) -> Tensor:
    """Return the indices of the latents that the classifiers use, best first, [n_used] in int64. `features`
    is [n, n_latents], one row per vector of `data`."""
    entered = np.full(features.shape[1], len(config.costs), dtype=np.int64)
    strength = np.zeros(features.shape[1])
    for place, cost in enumerate(sorted(config.costs)):
        margins = fit_sparse_margins(
            features, data.labels, c=cost, iterations=config.iterations, seed=seed % (1 << 31)
        )
        weights = np.abs(margins).sum(axis=0)
        new = (entered == len(config.costs)) & (weights > _ALMOST_NOTHING)
        entered[new], strength[new] = place, weights[new]
    # lexsort's last key counts first; ties go to the lower index.
    order = np.lexsort((np.arange(len(entered)), -strength, entered))
    return torch.from_numpy(order[entered[order] < len(config.costs)].copy())


@torch.no_grad()
def _features(latents: Tensor) -> csr_matrix:
    """Return latents as sparse rows, each column divided by its root mean square."""
    wide = latents.double()
    scale = wide.square().mean(dim=0).sqrt()
    scaled = torch.where(scale > 0, wide / scale.clamp_min(1e-30), torch.zeros(()).double())
    return csr_matrix(scaled.numpy())


METHOD = Sae
