"""What closed-form methods share: units of neurons, principal coordinates, class means; it knows no model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from das.featurizers.subspace import Subspace
from das.methods.common.base import NotApplicableError
from das.threads import one_thread

TOLERANCE = 1e-6
"""Singular values below this share of the largest count as zero: what float32 rounding of vectors leaves."""


@dataclass(frozen=True, slots=True)
class Units:
    """The units in which every neuron has mean 0 and standard deviation 1; constant neurons become 0."""

    mean: Tensor
    """Mean of each neuron, [d_model] in float64."""
    std: Tensor
    """Standard deviation of each neuron, 0 for constant ones, [d_model] in float64."""
    inverse: Tensor
    """One over it, 0 for constant ones, [d_model] in float64."""

    def of(self, vectors: Tensor) -> Tensor:
        """Return vectors [..., d_model] in these units, in float64."""
        return (vectors.double() - self.mean) * self.inverse


def units_of(vectors: Tensor) -> Units:
    """Return the units of vectors [n, d_model]; what varies by no more than rounding, of its own mean or of
    the liveliest neuron, counts as constant."""
    wide = vectors.double()
    mean, std = wide.mean(dim=0), wide.std(dim=0, correction=0)
    varies = std > TOLERANCE * torch.maximum(mean.abs(), std.max())
    inverse = torch.where(varies, 1 / std.where(varies, torch.ones_like(std)), 0.0)
    return Units(mean, torch.where(varies, std, 0.0), inverse)


@dataclass(frozen=True, slots=True)
class Coordinates:
    """Uncorrelated coordinates of vectors, by descending variance, with the way into them and back. `values =
    (vectors - mean) readers` and, on the vectors they were made from, `vectors = mean + values writers^T`, up
    to what is constant. `readers^T writers = I`. All in float64."""

    values: Tensor
    """The vectors in these coordinates, centred, [n, rank]."""
    variances: Tensor
    """Variance of each coordinate, descending, [rank]; the variance of a neuron is 1 in these units."""
    readers: Tensor
    """Columns along which coordinates are read, [d_model, rank]."""
    writers: Tensor
    """Columns along which coordinates are written, [d_model, rank]."""


def principal_coordinates(vectors: Tensor) -> Coordinates:
    """Return the principal components of standardised vectors [n, d_model] that vary at all.

    With z [n, d_model] standardised vectors (`units_of`) and C [rank, d_model] orthonormal components,
    `values = z C^T`, `readers = C^T / std` and `writers = C^T * std`. Components whose standard deviation is
    below `TOLERANCE` of the largest are dropped: dependent neurons, fewer vectors than neurons. Raises
    NotApplicableError if nothing varies.
    """
    units = units_of(vectors)
    scaled = units.of(vectors)
    covariance = scaled.mT @ scaled / len(scaled)
    with one_thread():
        variances, components = torch.linalg.eigh(covariance)
    variances, components = variances.flip(0).clamp(min=0), fixed_signs(components.flip(1))
    rank = significant(variances.sqrt())
    require_rank(rank, came=f"{len(vectors)} vectors that are all the same")
    variances, components = variances[:rank], components[:, :rank]
    return Coordinates(
        values=scaled @ components,
        variances=variances,
        readers=components * units.inverse[:, None],
        writers=components * units.std[:, None],
    )


def fixed_signs(columns: Tensor) -> Tensor:
    """Return the columns [d, k], each with the sign that makes its largest entry positive."""
    largest = columns.gather(0, columns.abs().argmax(dim=0, keepdim=True))
    return columns * torch.where(largest < 0, -1.0, 1.0).to(columns.dtype)


def significant(singular: Tensor, *, scale: float = 0.0) -> int:
    """Return how many of descending singular values [k] exceed `TOLERANCE` of the largest and of `scale`."""
    if not singular.numel():
        return 0
    return int((singular > TOLERANCE * max(float(singular[0]), scale)).sum())


def require_rank(rank: int, *, came: str) -> None:
    """Raise NotApplicableError, with what came, if no direction is left."""
    if rank == 0:
        raise NotApplicableError(
            expected="vectors that differ in at least one direction beyond rounding",
            came=came,
            todo="choose another site or attribute",
        )


def leading_subspace(readers: Tensor, writers: Tensor, size: int) -> Subspace:
    """Return the oblique `Subspace` of the first `size` columns of both, or of all if there are fewer."""
    return Subspace.oblique(readers[:, :size], writers[:, :size])


def one_hot(labels: NDArray[np.int64], n_classes: int) -> Tensor:
    """Return indicators of the classes, [n, n_classes] in float64."""
    return torch.eye(n_classes, dtype=torch.float64)[torch.from_numpy(labels)]


def class_shares(labels: NDArray[np.int64], n_classes: int) -> Tensor:
    """Return the share of each class among the labels, [n_classes] in float64."""
    return one_hot(labels, n_classes).mean(dim=0)


def class_means(values: Tensor, labels: NDArray[np.int64], n_classes: int) -> Tensor:
    """Return the mean of each class, [n_classes, d] in float64, for values [n, d]; zero where empty."""
    indicators = one_hot(labels, n_classes)
    counts = indicators.sum(dim=0)[:, None]
    return indicators.mT @ values.double() / counts.clamp(min=1)
