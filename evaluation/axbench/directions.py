"""Directions of concepts from token states, found in closed form as AxBench's rows of these names are."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from das.threads import one_thread


def diff_mean(positive: Tensor, negative: Tensor, seed: int) -> Tensor:
    """Return the mean of token states with the concept [n, d_model] less that without, of length 1."""
    return _unit(positive.mean(dim=0) - negative.mean(dim=0))


def pca(positive: Tensor, negative: Tensor, seed: int) -> Tensor:
    """Return the first principal component of token states with the concept. Its sign, which is arbitrary,
    is that of its largest entry."""
    return _first_component(positive - positive.mean(dim=0))


def lat(positive: Tensor, negative: Tensor, seed: int) -> Tensor:
    """Return the first principal component of differences, of length 1, between random pairs of token states
    with the concept; AxBench's code draws both of a pair from positives."""
    order = torch.randperm(len(positive), generator=torch.Generator().manual_seed(seed))
    half = len(order) // 2
    apart = positive[order[:half]] - positive[order[half : 2 * half]]
    lengths = apart.norm(dim=1, keepdim=True)
    apart = torch.where(lengths > 0, apart / lengths.clamp_min(1e-30), apart.new_zeros(()))
    return _first_component(apart - apart.mean(dim=0))


def random_direction(positive: Tensor, negative: Tensor, seed: int) -> Tensor:
    """Return a direction drawn evenly from all, a control."""
    return _unit(torch.randn(positive.shape[1], generator=torch.Generator().manual_seed(seed)))


FINDERS: Mapping[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "diff_mean": diff_mean,
    "pca": pca,
    "lat": lat,
    "random": random_direction,
}
"""What finds a direction, from token states with and without the concept and a seed."""


def _first_component(centred: Tensor) -> Tensor:
    """Return the eigenvector of the largest eigenvalue of rows [n, d_model], in float64."""
    wide = centred.double()
    with one_thread():
        _, vectors = torch.linalg.eigh(wide.mT @ wide)
    first = vectors[:, -1]
    return _unit((first * torch.sign(first[first.abs().argmax()])).float())


def _unit(vector: Tensor) -> Tensor:
    unit: Tensor = vector / vector.norm().clamp_min(1e-12)
    return unit
