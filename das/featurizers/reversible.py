"""Leading coordinates of a one-to-one map that need not be linear; how it was found is not known here."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor

from das.featurizers.base import Featurizer
from das.featurizers.coordinate_maps import CoordinateMap
from ravel.common.errors import SuiteError


@final
class ReversibleMap(Featurizer):
    """The first `size` coordinates of a `CoordinateMap` are swapped, the others stay; then the way back.

    Where the map is linear it swaps as the `Subspace` of its first columns does. Nothing is lost by the
    encoder but rounding, and that stays with the base as ever.
    """

    kind = "reversible_map"

    weights: Tensor
    """1 for the coordinates that are swapped, then 0, [d_model]."""

    def __init__(self, coordinates: CoordinateMap, size: int) -> None:
        """Keep the map as given, so that gradients reach whatever it was made of. Raises SuiteError for a
        size that is not from 0 to the map's width."""
        super().__init__()
        if not 0 <= size <= coordinates.width:
            raise SuiteError(
                expected=f"a size from 0 to {coordinates.width}, the width of the map",
                came=str(size),
                todo="choose a size no larger than the model's width",
            )
        self.coordinates = coordinates
        weights = (torch.arange(coordinates.width) < size).float()
        self.register_buffer("weights", weights.to(coordinates.centre.device))

    @property
    def width(self) -> int:
        """Length d_model of the vectors."""
        return self.coordinates.width

    def encode(self, vectors: Tensor) -> Tensor:
        """Return the coordinates: [..., d_model] to [..., d_model]."""
        return self.coordinates.encode(vectors)

    def decode(self, features: Tensor) -> Tensor:
        """Return the vectors with these coordinates: [..., d_model] to [..., d_model]."""
        return self.coordinates.decode(features)

    def mask(self) -> Tensor:
        """Return which coordinates are swapped, [d_model]."""
        return self.weights

    def settings(self) -> dict[str, Any]:
        """Return the form of the map."""
        return {"form": self.coordinates.form}

    def inverse_error(self, vectors: Tensor) -> float:
        """Return the largest relative error of the way there and back over vectors [n, d_model]: the length
        of `decode(encode(x)) - x` over that of `x - centre` or, if it is more, over a usual one; 0 without
        vectors."""
        with torch.no_grad():
            wide, units = vectors.float(), self.coordinates
            error = (self.decode(self.encode(wide)) - wide).norm(dim=-1)
            usual = units.scale * units.width**0.5
            relative = error / torch.maximum((wide - units.centre).norm(dim=-1), usual)
        return float(relative.max()) if relative.numel() else 0.0
