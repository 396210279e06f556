"""A share between 0 and 1 beside what chance alone would give, and the bases of which shares are taken."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from das.featurizers.orthonormal import check_orthonormal
from ravel.common.errors import SuiteError


@dataclass(frozen=True, slots=True)
class Share:
    """A share of something that lies in certain directions, with its level for directions without meaning."""

    share: float
    """From 0 to 1."""
    chance: float
    """What a random subspace of the same size has on average."""
    directions: int
    """How many directions the share is taken in."""

    @classmethod
    def within(cls, share: float, directions: Tensor) -> Share:
        """Return a share in the span of orthonormal columns [d, k]; by chance it is k / d."""
        d, k = directions.shape
        return cls(min(share, 1.0), chance=k / d, directions=k)


def wide_basis(basis: Tensor, rows: Tensor, what: str) -> Tensor:
    """Return a basis [d, k] in float64 on the CPU. Raises SuiteError unless its columns are orthonormal and
    as long as the `rows` [n, d], which are `what`."""
    if basis.ndim != 2 or rows.ndim != 2 or basis.shape[0] != rows.shape[1]:
        raise SuiteError(
            expected=f"a basis [d_model, k] and {what} [n, d_model] of one width",
            came=f"the shapes {list(basis.shape)} and {list(rows.shape)}",
            todo=f"use {what} of the site that the basis was found at",
        )
    check_orthonormal(basis, what="a basis")
    return basis.detach().double().cpu()
