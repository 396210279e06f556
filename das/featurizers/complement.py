"""Everything that another featurizer leaves with the base, as a featurizer of its own."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from das.featurizers.base import Featurizer


@final
class Complement(Featurizer):
    """Swaps what `inner` does not: the weight of each of its coordinates becomes 1 minus that weight, and
    what its encoder loses (the rest of the space for a subspace, the error of an autoencoder) comes from the
    source.

    So it gives what `inner` gives with base and source exchanged, unless `inner` drops what it loses. Of an
    orthogonal subspace it is the orthogonal complement, of a projection P the projection I - P. It is judged,
    never saved.
    """

    kind = "complement"

    def __init__(self, inner: Featurizer) -> None:
        """Share the tensors of `inner`."""
        super().__init__()
        self.inner = inner

    @property
    def width(self) -> int:
        """Length d_model of the vectors."""
        return self.inner.width

    def encode(self, vectors: Tensor) -> Tensor:
        """Return the coordinates of `inner`, then what they lose: [..., d_model] to [..., n_features +
        d_model]."""
        features = self.inner.encode(vectors)
        return torch.cat((features, vectors - self.inner.decode(features)), dim=-1)

    def decode(self, features: Tensor) -> Tensor:
        """Return the vectors with these coordinates: [..., n_features + d_model] to [..., d_model]."""
        own, lost = features.split((features.shape[-1] - self.width, self.width), dim=-1)
        vectors: Tensor = self.inner.decode(own) + lost
        return vectors

    def mask(self) -> Tensor:
        """Return 1 minus the weights of `inner`, then ones: [n_features + d_model]."""
        own = self.inner.mask()
        return torch.cat((1 - own, own.new_ones(self.width)))
