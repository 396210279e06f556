"""A one-to-one map under training, of which the first coordinates are swapped; it knows no pairs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from das.featurizers.coordinate_maps import UNITS, CoordinateMap, Monotone, RevNet
from das.featurizers.orthonormal import retract
from das.featurizers.reversible import ReversibleMap
from das.training.trainable import Trainable


class TrainableMap(Trainable):
    """A `ReversibleMap` under training: its orthonormal matrices are put back on the Stiefel manifold after
    every step, its units stay, all else is free."""

    def __init__(self, start: CoordinateMap, size: int) -> None:
        """Start at a map, of which the first `size` coordinates are swapped."""
        super().__init__()
        self._form, self._size = type(start), size
        tensors = {name: value.detach().clone() for name, value in start.named_buffers()}
        for name in UNITS:
            self.register_buffer(name, tensors.pop(name))
        self.weights = nn.ParameterDict({name: nn.Parameter(value) for name, value in tensors.items()})

    def current(self) -> ReversibleMap:
        """Return the map of this moment; gradients flow to all its weights."""
        weights = dict(self.weights.items())
        matrices = self._form.orthonormal
        return self._made({**weights, matrices: _retracted(weights[matrices])})

    def penalty(self) -> Tensor:
        """Return 0: a map of a given form needs no penalty."""
        return self.get_buffer("scale").new_zeros(())

    def after_step(self, done: float) -> None:
        """Make the matrices orthonormal again."""
        with torch.no_grad():
            matrices = self.weights[self._form.orthonormal]
            matrices.copy_(_retracted(matrices))

    def finished(self) -> ReversibleMap:
        """Return the map as it stands, on the CPU."""
        return self._made({name: value.detach().clone() for name, value in self.weights.items()}).cpu()

    def _made(self, weights: dict[str, Tensor]) -> ReversibleMap:
        units = {name: self.get_buffer(name) for name in UNITS}
        return ReversibleMap(self._form({**units, **weights}), self._size)


def revnet_start(units: dict[str, Tensor], rotation: Tensor, blocks: int, hidden: int, seed: int) -> RevNet:
    """Return couplings that read at random and write nothing yet, after the matrix that `rotation` [d_model,
    d_model] is retracted to."""
    d, half = len(rotation), len(rotation) // 2
    stream = torch.Generator().manual_seed(seed)
    return RevNet(
        {
            **units,
            "rotation": retract(rotation),
            "first_in": torch.randn(blocks, hidden, d - half, generator=stream),
            "first_bias": torch.zeros(blocks, hidden),
            "first_out": torch.zeros(blocks, half, hidden),
            "second_in": torch.randn(blocks, hidden, half, generator=stream),
            "second_bias": torch.zeros(blocks, hidden),
            "second_out": torch.zeros(blocks, d - half, hidden),
        }
    )


def monotone_start(units: dict[str, Tensor], rotation: Tensor, blocks: int) -> Monotone:
    """Return functions that change nothing yet, the first after the matrix that `rotation` [d_model, d_model]
    is retracted to, unit matrices between them."""
    d = len(rotation)
    rest = torch.eye(d).expand(blocks, d, d)
    flat = {name: torch.zeros(blocks, d) for name in ("knots", "below", "above")}
    return Monotone({**units, "rotations": torch.cat((retract(rotation)[None], rest)), **flat})


def _retracted(matrices: Tensor) -> Tensor:
    """Return one matrix, or several [n, d, d], each with orthonormal columns."""
    if matrices.ndim == 2:
        return retract(matrices)
    return torch.stack([retract(matrix) for matrix in matrices])
