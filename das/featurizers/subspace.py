"""A linear subspace: its coordinates are swapped whole, its complement stays. No method that found it is
known here."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from das.featurizers.base import Featurizer
from das.featurizers.orthonormal import check_orthonormal
from ravel.common.errors import SuiteError

__all__ = ["Subspace"]


@final
class Subspace(Featurizer):
    """The span of orthonormal columns; swapping it is the projection P(source - base) added to the base.

    As in distributed alignment search (Geiger et al. 2024, arXiv 2303.02536), with the columns in place of a
    full rotation.
    """

    kind = "subspace"

    basis: Tensor
    """Orthonormal columns, [d_model, k] in float32; k may be 0."""

    def __init__(self, basis: Tensor) -> None:
        """Keep `basis` as given, so that a gradient reaches whatever it was computed from.

        Raises SuiteError if it is not a matrix of at most d_model columns, or its columns are not
        orthonormal.
        """
        super().__init__()
        if basis.ndim != 2 or basis.shape[1] > basis.shape[0]:
            raise SuiteError(
                expected="a basis of shape [d_model, k] with k at most d_model",
                came=f"the shape {tuple(basis.shape)}",
                todo="choose a dimension no larger than the model's width",
            )
        check_orthonormal(basis, what="a basis")
        self.register_buffer("basis", basis.float().contiguous())

    @property
    def width(self) -> int:
        """Length d_model of the vectors."""
        return int(self.basis.shape[0])

    @property
    def size(self) -> int:
        """Dimension k of the subspace."""
        return int(self.basis.shape[1])

    def encode(self, vectors: Tensor) -> Tensor:
        """Return the coordinates in the subspace: [..., d_model] to [..., k]."""
        return vectors @ self.basis

    def decode(self, features: Tensor) -> Tensor:
        """Return the vectors of the subspace with these coordinates: [..., k] to [..., d_model]."""
        return features @ self.basis.mT

    def mask(self) -> Tensor:
        """Return ones, [k]: every coordinate is swapped."""
        return torch.ones(self.size, dtype=self.basis.dtype, device=self.basis.device)
