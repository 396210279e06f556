"""The direction in which vectors with a value vary most; it knows no vector without it, but for the sign."""

from __future__ import annotations

import torch
from torch import Tensor

from das.methods.common.base import Problem
from das.methods.detection._directions import FindsDirections, oriented
from das.threads import one_thread


class ConceptPca(FindsDirections):
    """The first principal component of the centred vectors that have a value (PCA of AxBench, Wu et al. 2025,
    arXiv 2501.17148). Departure: its sign, which the reference leaves to chance, is that by which training
    vectors with the value score higher on average.
    """

    name = "concept_pca"
    summary = "Tells a value by the first principal component of the vectors that have it"

    def readers(self, vectors: Tensor, has: Tensor, problem: Problem) -> Tensor:
        """Return the components."""
        found = [first_component(vectors[has[:, place]]) for place in range(has.shape[1])]
        return oriented(torch.stack(found, dim=1), vectors, has)


def first_component(vectors: Tensor) -> Tensor:
    """Return the first principal component of vectors [n, d], of length 1, [d]; its sign means nothing."""
    centred = vectors.double() - vectors.double().mean(dim=0)
    with one_thread():
        _, _, components = torch.linalg.svd(centred, full_matrices=False)
    found: Tensor = components[0].float()
    return found


METHOD = ConceptPca
