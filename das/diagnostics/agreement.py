"""Whether fits from several seeds found one subspace; what they were fitted to is not known here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from das.featurizers.base import Featurizer
from das.featurizers.geometry import overlap, principal_cosines, written_directions
from das.featurizers.masked import MaskedBasis
from das.featurizers.subspace import Subspace
from ravel.common.errors import SuiteError


@dataclass(frozen=True, slots=True)
class Agreement:
    """How alike some subspaces are, over all pairs of them."""

    mean_angle: float | None
    """Mean principal angle in degrees, over the angles of a pair and then over pairs; None without an
    angle."""
    overlap: float | None
    """Mean squared cosine of the same: 1 for equal subspaces, near `chance` for unrelated ones."""
    chance: float | None
    """Mean over pairs of what two random subspaces of those sizes have: the larger size / d."""
    pairs: int
    """Pairs with an angle."""


def subspace_of(featurizer: Featurizer) -> Tensor:
    """Return orthonormal columns along which a featurizer swaps, [d_model, k] in float64 on the CPU.

    A `Subspace` gives its basis (an oblique one the columns along which it writes), a `MaskedBasis` the
    columns that are swapped by more than half. Raises SuiteError for any other: a dictionary's swap depends
    on which features fire, so that it adds no fixed projection of source - base, and its row and null parts
    would describe another intervention than the one that was scored.
    """
    if not isinstance(featurizer, Subspace | MaskedBasis):
        raise SuiteError(
            expected="a featurizer that swaps a linear subspace (subspace or masked_basis), whose "
            "projection can be taken apart",
            came=f"a {featurizer.kind}, whose swap is no projection",
            todo="diagnose a fit of das, mdas, boundless_das, dbm, pca or another linear method",
        )
    return written_directions(featurizer)


def agreement(featurizers: Sequence[Featurizer]) -> Agreement:
    """Return how alike the subspaces of several seeds are.

    Per pair the mean over its principal angles (`das.featurizers.geometry`), then the mean over pairs.
    Subspaces that differ between seeds with equal scores say that the score does not single one out; equal
    ones do not say that it is the model's. Raises SuiteError for fewer than two and what `subspace_of`
    refuses.
    """
    if len(featurizers) < 2:
        raise SuiteError(
            expected="at least two fits to compare",
            came=str(len(featurizers)),
            todo="fit the method with several seeds",
        )
    for featurizer in featurizers:
        subspace_of(featurizer)
    angles, overlaps, chances = [], [], []
    for first, second in combinations(featurizers, 2):
        cosines = principal_cosines(first, second)
        shared = overlap(cosines)
        if shared is not None:
            angles.append(math.degrees(float(torch.acos(cosines).mean())))
            overlaps.append(shared)
            chances.append(max(first.size, second.size) / first.width)
    count = len(angles)
    if not count:
        return Agreement(None, None, None, 0)
    return Agreement(sum(angles) / count, sum(overlaps) / count, sum(chances) / count, count)
