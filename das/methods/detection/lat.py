"""Linear artificial tomography: what random pairs of vectors with a value differ by; no vector without it."""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor

from das.methods.common.alignment import fit_seed
from das.methods.common.base import Problem
from das.methods.detection._directions import ConceptConfig, FindsDirections, oriented
from das.methods.detection.concept_pca import first_component


class LatConfig(ConceptConfig):
    """Settings of lat."""

    pairs: PositiveInt = 1000
    """Pairs of vectors that are drawn for each value, of which no two are one vector."""


class Lat(FindsDirections[LatConfig]):
    """The first principal component of differences of random pairs of vectors that have a value, each divided
    by its length (LAT, Zou et al. 2023, arXiv 2310.01405, with pairs of positives only, as AxBench, arXiv
    2501.17148, has it). Departure: the sign is that of `concept_pca`.
    """

    name = "lat"
    summary = "Tells a value by what random pairs of vectors that have it differ by most"
    config_class = LatConfig
    draws = True

    def readers(self, vectors: Tensor, has: Tensor, problem: Problem) -> Tensor:
        """Return the components."""
        stream = torch.Generator().manual_seed(fit_seed(self, problem))
        found = [
            first_component(unit_differences(vectors[has[:, place]], self.config.pairs, stream))
            for place in range(has.shape[1])
        ]
        return oriented(torch.stack(found, dim=1), vectors, has)


def unit_differences(vectors: Tensor, pairs: int, stream: torch.Generator) -> Tensor:
    """Return the differences of random pairs of vectors [n, d], of length 1, [n_pairs, d]; equal vectors
    give none."""
    n = len(vectors)
    first = torch.randint(n, (pairs,), generator=stream)
    # Any other than the first.
    second = (first + 1 + torch.randint(max(n - 1, 1), (pairs,), generator=stream)) % n
    apart = vectors[first].double() - vectors[second].double()
    lengths = apart.norm(dim=1, keepdim=True)
    kept = (lengths > 0)[:, 0]
    return (apart[kept] / lengths[kept]).float() if bool(kept.any()) else apart[:1].float()


METHOD = Lat
