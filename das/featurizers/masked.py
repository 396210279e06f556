"""Chosen coordinates of a basis of the whole space: neurons, rotated neurons, or everything."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from das.featurizers.base import Featurizer
from das.featurizers.orthonormal import check_orthonormal
from ravel.common.errors import SuiteError


@final
class MaskedBasis(Featurizer):
    """A basis of the whole space with a weight per coordinate; without a basis, the neurons themselves."""

    kind = "masked_basis"

    weights: Tensor
    """How much of each coordinate is swapped, [d_model], from 0 to 1."""
    basis: Tensor | None
    """Orthonormal columns, [d_model, d_model], or None for the neurons."""

    def __init__(self, mask: Tensor, basis: Tensor | None = None) -> None:
        """Keep both as given, so that gradients reach whatever they came from. Raises SuiteError for a mask
        outside [0, 1] or not [d_model], and a basis that is not square or not orthonormal."""
        super().__init__()
        _check_mask(mask)
        if basis is not None and basis.shape != (mask.shape[0], mask.shape[0]):
            raise SuiteError(
                expected=f"a square basis with as many columns as the mask has entries, {mask.shape[0]}",
                came=f"the shape {tuple(basis.shape)}",
                todo="give both the model's width",
            )
        if basis is not None:
            check_orthonormal(basis, what="a basis")
        self.register_buffer("weights", mask.float().contiguous())
        self.register_buffer("basis", None if basis is None else basis.float().contiguous())

    @property
    def width(self) -> int:
        """Length d_model of the vectors."""
        return int(self.weights.shape[0])

    def encode(self, vectors: Tensor) -> Tensor:
        """Return the coordinates in the basis: [..., d_model] to [..., d_model]."""
        return vectors if self.basis is None else vectors @ self.basis

    def decode(self, features: Tensor) -> Tensor:
        """Return the vectors with these coordinates: [..., d_model] to [..., d_model]."""
        return features if self.basis is None else features @ self.basis.mT

    def mask(self) -> Tensor:
        """Return the weight of each coordinate, [d_model]."""
        return self.weights


def _check_mask(mask: Tensor) -> None:
    with torch.no_grad():
        fits = mask.ndim == 1 and bool(((mask >= 0) & (mask <= 1)).all())
    if not fits:
        raise SuiteError(
            expected="a mask of shape [d_model] with entries from 0 to 1",
            came=f"the shape {tuple(mask.shape)}" if mask.ndim != 1 else "entries outside that range",
            todo="pass hard masks as 0 and 1, soft ones through a sigmoid",
        )
