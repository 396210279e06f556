"""A gate that swaps exactly as much as is asked for, trained at all sizes at once; it knows no pairs."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from das.featurizers.base import Featurizer
from das.training.masks import HardeningConfig
from das.training.trainable import Trainable
from ravel.common.seeds import python_stream

_HALVINGS = 60
"""Bisections of the offset: as many as float64 has places."""


def budget_gate(scores: Tensor, size: int) -> Tensor:
    """Return `sigmoid(scores + c)` with the offset c at which it sums to `size`, [n_features]; `size` is from
    1 to n_features, at which all are 1. The gradient takes along that c depends on the scores."""
    if size >= len(scores):
        return torch.ones_like(scores)
    wide = scores.double()
    offset = _offset(wide.detach(), size)
    gate = torch.sigmoid(wide.detach() + offset)
    slope = gate * (1 - gate)
    # A step of Newton's from the solution changes no value, and carries the derivative of the solution.
    missed = torch.sigmoid(wide + offset).sum() - size
    return torch.sigmoid(wide + offset - missed / slope.sum().clamp(min=1e-12)).to(scores.dtype)


def _offset(scores: Tensor, size: int) -> Tensor:
    """Return the offset at which the gate of `scores` [n_features] sums to `size`, by bisection."""
    even = math.log(size / (len(scores) - size))
    low, high = even - scores.max(), even - scores.min()
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        too_much = torch.sigmoid(scores + middle).sum() > size
        low, high = torch.where(too_much, low, middle), torch.where(too_much, middle, high)
    return (low + high) / 2


def drawn_size(n_features: int, seed: int, step: int) -> int:
    """Return the size of a step, from 1 to `n_features - 1`: its logarithm is drawn evenly."""
    share = python_stream(seed, "budget", str(step)).random()
    return min(int(n_features**share), max(n_features - 1, 1))


def leading_mask(scores: Tensor, size: int) -> Tensor:
    """Return 1 for the `size` largest scores, of equal ones the first, else 0, [n_features]."""
    mask = torch.zeros_like(scores)
    mask[scores.argsort(descending=True, stable=True)[:size]] = 1.0
    return mask


class TrainableBudget(Trainable):
    """A score per feature, of which the gate swaps a given number, another one at every step.

    Each step's gate sums to a size that is drawn anew (`drawn_size`), so that the order of the scores comes
    to serve all sizes; its temperature falls, as that of `TrainableMask` does.
    """

    temperature: Tensor
    """What scores are divided by before the gate, a scalar."""
    steps: Tensor
    """Finished steps, a scalar in int64: they decide which size is drawn next."""

    def __init__(
        self,
        make: Callable[[Tensor], Featurizer],
        n_features: int,
        config: HardeningConfig,
        seed: int,
    ) -> None:
        """Start with every score at 0. `make` turns a mask [n_features] into the featurizer that swaps by it;
        sizes are drawn by `seed`."""
        super().__init__()
        self._make, self._config, self._seed = make, config, seed
        self.scores = nn.Parameter(torch.zeros(n_features))
        self.register_buffer("temperature", torch.tensor(config.temperature_start))
        self.register_buffer("steps", torch.tensor(0))

    def current(self) -> Featurizer:
        """Return the featurizer with the gate of this step's size; gradients flow to `scores`."""
        size = drawn_size(len(self.scores), self._seed, int(self.steps))
        return self._make(budget_gate(self.scores / self.temperature, size))

    def evaluated(self) -> Featurizer:
        """Return the featurizer that swaps the middle one of sizes, by their logarithms, whole."""
        with torch.no_grad():
            return self._make(leading_mask(self.scores, round(len(self.scores) ** 0.5)))

    def penalty(self) -> Tensor:
        """Return 0: the size is given."""
        return self.scores.new_zeros(())

    def after_step(self, done: float) -> None:
        """Lower the temperature to that of the finished share, and go on to the next size."""
        self.temperature.fill_(self._config.temperature(done))
        self.steps.add_(1)

    def finished(self) -> Featurizer:
        """Return the featurizer that `evaluated` does, on the CPU."""
        return self.evaluated().cpu()
