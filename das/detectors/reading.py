"""A featurizer as a detector: values told by what of a vector it would swap. It knows vectors and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from das.detectors.base import VectorDetector
from das.featurizers.base import Featurizer


@final
class Reading(VectorDetector):
    """Scores by the difference of means within the features that a featurizer swaps: `f(h) (mean f of the
    vectors with the value - mean f of those without)`, f the features of weight above a half.

    Of the whole vector that is the difference of means (`diff_mean`), of nothing it is 0 for every vector. It
    is worked out from training vectors where it is needed, and never saved.
    """

    kind = "reading"

    def __init__(
        self, attribute: str, values: Sequence[str], featurizer: Featurizer, known: Tensor, has: Tensor
    ) -> None:
        """`known` are training vectors, [n, d_model], and `has` tells which has which value, bool
        [n, n_values]; each value some, and not all."""
        super().__init__(attribute, values)
        self._featurizer = featurizer
        self.register_buffer("differences", difference_of_means(self._features(known), has))

    differences: Tensor
    """One column per value, [n_features, n_values]."""

    @property
    def width(self) -> int:
        """Length d_model of the vectors."""
        return self._featurizer.width

    def of_vectors(self, vectors: Tensor) -> Tensor:
        """Return the scores of vectors: [n, d_model] to [n, n_values]."""
        return self._features(vectors) @ self.differences

    def _features(self, vectors: Tensor) -> Tensor:
        with torch.no_grad():
            return self._featurizer.encode(vectors.float())[:, self._featurizer.mask() > 0.5]


def difference_of_means(vectors: Tensor, has: Tensor) -> Tensor:
    """Return for each value the mean of the vectors [n, d] that have it less that of those that have not,
    [d, n_values] in float32; `has` is bool [n, n_values]."""
    return (_wide_means(vectors, has) - _wide_means(vectors, ~has)).float()


def means_of(vectors: Tensor, has: Tensor) -> Tensor:
    """Return the mean of the vectors [n, d] of each value, [d, n_values] in float32; `has` is bool
    [n, n_values]."""
    return _wide_means(vectors, has).float()


def _wide_means(vectors: Tensor, has: Tensor) -> Tensor:
    weights = has.double()
    found: Tensor = vectors.double().mT @ weights / weights.sum(dim=0)
    return found
