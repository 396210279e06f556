"""How near a found part is to a true subspace: angles and one number; it knows no scores."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from das.featurizers.base import Featurizer
from das.featurizers.geometry import principal_cosines, written_directions
from das.featurizers.subspace import Subspace


@dataclass(frozen=True, slots=True)
class Nearness:
    """A found part against the truth."""

    found: int
    """Dimension of what a swap changes."""
    true: int
    """Dimension of the truth."""
    similarity: float
    """tr(P_found P_true) / max(found, true): 1 exactly if both are the same subspace, 0 if they are
    orthogonal or nothing was found. Too few and too many coordinates count alike."""
    angles: tuple[float, ...]
    """Principal angles in degrees, smallest first, min(found, true) of them."""

    @property
    def largest(self) -> float | None:
        """Largest principal angle in degrees; None if nothing was found."""
        return self.angles[-1] if self.angles else None

    @property
    def mean(self) -> float | None:
        """Mean principal angle in degrees; None if nothing was found."""
        return sum(self.angles) / len(self.angles) if self.angles else None


def nearness(featurizer: Featurizer, truth: Tensor) -> Nearness:
    """Compare what a featurizer writes with orthonormal columns [d_model, k] that span the truth.

    Raises SuiteError for a featurizer without a linear part or of vectors of another width.
    """
    cosines = principal_cosines(featurizer, as_subspace(truth))
    found = int(written_directions(featurizer).shape[1])
    true = int(truth.shape[1])
    return Nearness(
        found=found,
        true=true,
        similarity=float(cosines.square().sum()) / max(found, true),
        angles=tuple(math.degrees(math.acos(float(cosine))) for cosine in cosines),
    )


def as_subspace(columns: Tensor) -> Subspace:
    """Return the featurizer that swaps the span of orthonormal columns."""
    return Subspace(columns.to(torch.float32))
