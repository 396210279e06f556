"""One-to-one maps of vectors to as many coordinates, with a closed-form way back; which are swapped is not
known here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn

from das.featurizers.orthonormal import check_orthonormal
from ravel.common.errors import SuiteError

MapForm = Literal["revnet", "monotone"]
UNITS = ("centre", "scale")
"""Tensors of every map, besides those of its form."""
_Shapes = dict[str, tuple[int, ...]]
_STEEPEST = 2.0
"""Largest slope of a monotone function; one over it is the smallest, so that rounding stays small both
ways."""


class CoordinateMap(nn.Module, ABC):
    """A one-to-one map of vectors [..., d_model], taken from their mean and in units of their spread.

    Subclasses are final and hold nothing but buffers in float32.
    """

    form: ClassVar[MapForm]
    """Name of the form in settings and files."""
    orthonormal: ClassVar[str]
    """Name of the buffer that holds an orthonormal matrix, or several."""
    centre: Tensor
    """What is taken from a vector first, [d_model]."""
    scale: Tensor
    """What the rest is divided by, a scalar above 0."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Keep the tensors, `UNITS` and those of the form, in float32 and otherwise as given, so that
        gradients reach whatever they were made of. Raises SuiteError if one is missing, none of the form or
        of a shape that does not fit, if a matrix is not orthonormal or the scale is not above 0."""
        super().__init__()
        d = int(tensors["centre"].shape[-1])
        shapes = {"centre": (d,), "scale": (), **self.shapes(d, tensors)}
        came = {name: tuple(value.shape) for name, value in tensors.items()}
        if came != shapes:
            raise SuiteError(
                expected=f"tensors of a {self.form} map of width {d}: {shapes}",
                came=str(came),
                todo="correct what differs",
            )
        for name in shapes:
            self.register_buffer(name, tensors[name].float().contiguous())
        if not float(self.scale) > 0:
            raise SuiteError(
                expected="a scale above 0", came=f"{float(self.scale):g}", todo="choose another site"
            )
        for matrix in self.get_buffer(self.orthonormal).reshape(-1, d, d):
            check_orthonormal(matrix, what=f"a {self.orthonormal}")

    @property
    def width(self) -> int:
        """Length d_model of the vectors."""
        return int(self.centre.shape[0])

    @classmethod
    @abstractmethod
    def shapes(cls, d: int, tensors: Mapping[str, Tensor]) -> _Shapes:
        """Return the shape that each tensor of the form must have for vectors of length `d`; how many blocks
        there are, and how wide they are inside, is as `tensors` say."""

    @abstractmethod
    def encode(self, vectors: Tensor) -> Tensor:
        """Map vectors [..., d_model] to coordinates [..., d_model]."""

    @abstractmethod
    def decode(self, coordinates: Tensor) -> Tensor:
        """Map coordinates [..., d_model] back to the vectors that have them."""


@final
class RevNet(CoordinateMap):
    """An orthogonal matrix, then additive couplings of the two halves of the coordinates, as in reversible
    residual networks (Gomez et al. 2017, arXiv 1707.04585) and the alignment maps of Sutter et al. 2025
    (arXiv 2507.08802).

    With x1 the first half and x2 the rest, a block gives `y1 = x1 + F(x2)` and `y2 = x2 + G(y1)`; the way
    back is `x2 = y2 - G(y1)`, `x1 = y1 - F(x2)`. F and G have one hidden layer of tanh. Departures from
    Sutter et al.: the orthogonal matrix, with which a linear map is one of those that can be found; each
    layer's sum is divided by the square root of what it sums over.
    """

    form = "revnet"
    orthonormal = "rotation"

    rotation: Tensor
    """Orthonormal matrix, [d_model, d_model]."""
    first_in: Tensor
    """What F reads of x2, [blocks, hidden, d_model - half]."""
    first_bias: Tensor
    """Bias of F's hidden layer, [blocks, hidden]."""
    first_out: Tensor
    """What F adds to x1, [blocks, half, hidden]."""
    second_in: Tensor
    """What G reads of y1, [blocks, hidden, half]."""
    second_bias: Tensor
    """Bias of G's hidden layer, [blocks, hidden]."""
    second_out: Tensor
    """What G adds to x2, [blocks, d_model - half, hidden]."""

    @classmethod
    def shapes(cls, d: int, tensors: Mapping[str, Tensor]) -> _Shapes:
        """Return the shape of each tensor of the form."""
        blocks, hidden, half = *tensors["first_bias"].shape[:2], d // 2
        return {
            "rotation": (d, d),
            "first_in": (blocks, hidden, d - half),
            "first_bias": (blocks, hidden),
            "first_out": (blocks, half, hidden),
            "second_in": (blocks, hidden, half),
            "second_bias": (blocks, hidden),
            "second_out": (blocks, d - half, hidden),
        }

    def encode(self, vectors: Tensor) -> Tensor:
        """Map vectors [..., d_model] to coordinates [..., d_model]."""
        first, second = self._halves((vectors - self.centre) / self.scale @ self.rotation)
        for block in range(len(self.first_in)):
            first = first + self._added_to_first(block, second)
            second = second + self._added_to_second(block, first)
        return torch.cat((first, second), dim=-1)

    def decode(self, coordinates: Tensor) -> Tensor:
        """Map coordinates [..., d_model] back to the vectors that have them."""
        first, second = self._halves(coordinates)
        for block in reversed(range(len(self.first_in))):
            second = second - self._added_to_second(block, first)
            first = first - self._added_to_first(block, second)
        return torch.cat((first, second), dim=-1) @ self.rotation.mT * self.scale + self.centre

    def _halves(self, coordinates: Tensor) -> tuple[Tensor, Tensor]:
        half = self.width // 2
        return coordinates[..., :half], coordinates[..., half:]

    def _added_to_first(self, block: int, second: Tensor) -> Tensor:
        return _layers(second, self.first_in[block], self.first_bias[block], self.first_out[block])

    def _added_to_second(self, block: int, first: Tensor) -> Tensor:
        return _layers(first, self.second_in[block], self.second_bias[block], self.second_out[block])


@final
class Monotone(CoordinateMap):
    """Orthogonal matrices, with a monotone function of each coordinate after every one but the last.

    The function has one slope below its knot and another above, each from 1/2 to 2: `m(z) = knot + up max(z -
    knot, 0) - down max(knot - z, 0)`; the way back has the same knot and one over the slopes. After the last
    matrix there is none, for a monotone function of a coordinate that is swapped whole changes no swap. Ours,
    after iterative Gaussianisation by rotations and marginal functions (Laparra et al. 2011, arXiv
    1602.00229).
    """

    form = "monotone"
    orthonormal = "rotations"

    rotations: Tensor
    """Orthonormal matrices, [blocks + 1, d_model, d_model]."""
    knots: Tensor
    """Where each coordinate's slope changes, [blocks, d_model]."""
    below: Tensor
    """The slope below the knot is `2 ** tanh(below)`, [blocks, d_model]."""
    above: Tensor
    """The slope above the knot is `2 ** tanh(above)`, [blocks, d_model]."""

    @classmethod
    def shapes(cls, d: int, tensors: Mapping[str, Tensor]) -> _Shapes:
        """Return the shape of each tensor of the form."""
        blocks = len(tensors["knots"])
        return {
            "rotations": (blocks + 1, d, d),
            "knots": (blocks, d),
            "below": (blocks, d),
            "above": (blocks, d),
        }

    def encode(self, vectors: Tensor) -> Tensor:
        """Map vectors [..., d_model] to coordinates [..., d_model]."""
        found = (vectors - self.centre) / self.scale @ self.rotations[0]
        for block in range(len(self.knots)):
            down, up = self._slopes(block)
            found = _bent(found, self.knots[block], down, up) @ self.rotations[block + 1]
        return found

    def decode(self, coordinates: Tensor) -> Tensor:
        """Map coordinates [..., d_model] back to the vectors that have them."""
        found = coordinates
        for block in reversed(range(len(self.knots))):
            down, up = self._slopes(block)
            found = _bent(found @ self.rotations[block + 1].mT, self.knots[block], 1 / down, 1 / up)
        return found @ self.rotations[0].mT * self.scale + self.centre

    def _slopes(self, block: int) -> tuple[Tensor, Tensor]:
        below, above = self.below[block], self.above[block]
        return _STEEPEST ** torch.tanh(below), _STEEPEST ** torch.tanh(above)


MAPS: Mapping[str, type[CoordinateMap]] = {RevNet.form: RevNet, Monotone.form: Monotone}
"""Every form, by its name in settings and files."""


def _layers(inputs: Tensor, reads: Tensor, bias: Tensor, writes: Tensor) -> Tensor:
    """Return `writes tanh(reads inputs + bias)` for inputs [..., n], each sum divided by the square root of
    what it sums over."""
    hidden = torch.tanh(inputs @ reads.mT / max(reads.shape[1], 1) ** 0.5 + bias)
    added: Tensor = hidden @ writes.mT / writes.shape[1] ** 0.5
    return added


def _bent(values: Tensor, knots: Tensor, down: Tensor, up: Tensor) -> Tensor:
    """Return the values [..., d] with one slope below their knots [d] and another above."""
    past = values - knots
    return knots + torch.where(past > 0, up * past, down * past)
