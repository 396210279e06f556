"""A subspace taken apart by what a linear reader sees of it, and patches by one part each; matrices only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from das.diagnostics.linear_patch import LinearPatch
from das.diagnostics.share import Share, wide_basis
from das.featurizers.base import Featurizer
from das.featurizers.orthonormal import retract
from das.featurizers.subspace import Subspace
from ravel.common.errors import SuiteError

TOLERANCE = 1e-6
"""Singular values of a reader at or below this share of its largest count as zero."""
PART_TOLERANCE = 1e-4
"""A direction of a part counts in the normalised patches if it keeps more than this share of its length."""
PATCHES = ("row", "row_unnormalised", "null", "null_unnormalised", "cross")
"""Names of the patches of a basis and a reader."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The columns of a basis, each split in two. Neither part is brought back to length 1."""

    row: Tensor
    """What the reader can see of each column, its projection on the reader's row space, [d, k]."""
    null: Tensor
    """The rest of each column, in the reader's null space, [d, k]; `row + null` is the basis."""


def row_space(reader_matrix: Tensor, tolerance: float = TOLERANCE) -> Tensor:
    """Return the right singular vectors of a reader [n_out, d] with a singular value above `tolerance` times
    the largest, [d, rank] in float64. Raises SuiteError for what is no matrix of finite numbers."""
    return _Seen.by(reader_matrix).rows(tolerance)


def split(basis: Tensor, reader_matrix: Tensor, tolerance: float = TOLERANCE) -> Parts:
    """Split a basis [d, k] with orthonormal columns by a reader [n_out, d]: v = r + n for each column v.

    r = P v with P the projection on the reader's row space (`row_space`), n = v - r, both in float64. A
    larger `tolerance` counts directions that the reader hardly sees as not seen (`energy_tolerance`). The
    parts have the lengths that v has there, so |r|^2 + |n|^2 = 1: no renormalising (arXiv 2311.17030 for one
    column; here for any number). Raises SuiteError for a basis of another width or without orthonormal
    columns.
    """
    wide = wide_basis(basis, reader_matrix, "a reader")
    return _Seen.by(reader_matrix).parts(wide, tolerance)


def patches(basis: Tensor, reader_matrix: Tensor, tolerance: float = TOLERANCE) -> Mapping[str, Featurizer]:
    """Return the five patches of a basis [d, k] and a reader [n_out, d], by the names in `PATCHES`.

    With the parts r and n of `split`, D = source - base, and columns side by side:

    - `row`: the projection on the span of r. Its columns are made orthonormal again, so a part of length 0.2
      counts as a whole direction.
    - `row_unnormalised`: h + r r^T D, with the lengths that r has.
    - `null`, `null_unnormalised`: the same of n. For a purely linear reader neither has any effect.
    - `cross`: h + r n^T D. The coefficient is collected where the reader sees nothing and written where it
      sees: the mechanism suspected of an illusion, by itself.

    A reader moves under the full patch by its move under `row_unnormalised` plus that under `cross`. The
    normalised ones have fewer columns than the basis where a part loses rank (`PART_TOLERANCE`), and may have
    none. The numbers of the two normalisations differ greatly for the same subspace (Wu et al. 2024, arXiv
    2401.12631), so that one without the name of its normalisation says nothing.
    """
    columns = _columns(split(basis, reader_matrix, tolerance))
    return {
        name: Subspace(writers) if name in ("row", "null") else LinearPatch(writers, readers)
        for name, (writers, readers) in columns.items()
    }


def null_share(basis: Tensor, reader_matrix: Tensor, tolerance: float = TOLERANCE) -> Share:
    """Return the share of a basis [d, k] in the null space of a reader [n_out, d]: the mean of |n|^2. By
    chance it is the null space's share of all d dimensions. 0 for a basis without columns."""
    wide = wide_basis(basis, reader_matrix, "a reader")
    return _Seen.by(reader_matrix).null_share(wide, tolerance)


def soft_null_share(basis: Tensor, reader_matrix: Tensor, energy: float = 0.01) -> Share:
    """Return the share of a basis [d, k] in the directions that a reader [n_out, d] sees least.

    Readers of real models have full rank, and then nothing is in the null space. The directions here are the
    last right singular vectors, as many as together hold at most `energy` of the sum of squared singular
    values: of a change without preferred direction the reader gets at most that share from them.
    """
    wide, seen = wide_basis(basis, reader_matrix, "a reader"), _Seen.by(reader_matrix)
    return seen.null_share(wide, seen.tolerance(energy))


def energy_tolerance(reader_matrix: Tensor, energy: float = 0.01) -> float:
    """Return the tolerance for `split` and `patches` under which the null part is that of `soft_null_share`.
    At least `TOLERANCE`. Raises SuiteError unless `energy` is in [0, 1)."""
    return _Seen.by(reader_matrix).tolerance(energy)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A reader by how well it sees which direction."""

    directions: Tensor
    """All right singular vectors, best seen first, [d, d] in float64."""
    values: Tensor
    """Their singular values, filled up with zeros, [d]."""

    @classmethod
    def by(cls, reader_matrix: Tensor) -> _Seen:
        matrix = reader_matrix.detach().double().cpu()
        if matrix.ndim != 2 or not matrix.shape[1] or not bool(matrix.isfinite().all()):
            raise SuiteError(
                expected="a reader's matrix [n_out, d_model] of finite numbers",
                came=f"the shape {list(matrix.shape)}" if matrix.ndim != 2 else "other entries or no columns",
                todo="take it from das.diagnostics.readers.next_readers",
            )
        width = matrix.shape[1]
        if matrix.shape[0] > width:
            matrix = torch.linalg.qr(matrix, mode="r").R
        _, values, directions = torch.linalg.svd(matrix, full_matrices=True)
        return cls(directions.mT, torch.cat([values, values.new_zeros(width - len(values))]))

    def rows(self, tolerance: float) -> Tensor:
        return self.directions[:, self.values > tolerance * self.values[0]]

    def parts(self, basis: Tensor, tolerance: float) -> Parts:
        seen = self.rows(tolerance)
        row = seen @ (seen.mT @ basis)
        return Parts(row=row, null=basis - row)

    def null_share(self, basis: Tensor, tolerance: float) -> Share:
        null = self.parts(basis, tolerance).null
        share = float(null.square().sum() / null.shape[1]) if null.shape[1] else 0.0
        return Share.within(share, self.directions[:, self.rows(tolerance).shape[1] :])

    def tolerance(self, energy: float) -> float:
        if not 0.0 <= energy < 1.0:
            raise SuiteError(
                expected="a share of energy of at least 0 and below 1",
                came=str(energy),
                todo="give 0.01, say",
            )
        values, squares = self.values, self.values.square().flip(0)
        total = squares.sum()
        if not total > 0:
            return TOLERANCE
        count = int((squares.cumsum(0) <= energy * total).sum())
        # Equal singular values stay together, on the side that the reader sees.
        smallest_seen = float(values[len(values) - count - 1])
        below = values[values < smallest_seen * (1 - TOLERANCE)]
        if not len(below):
            return TOLERANCE
        return max(TOLERANCE, (float(below[0]) + smallest_seen) / 2 / float(values[0]))


def _columns(parts: Parts) -> dict[str, tuple[Tensor, Tensor]]:
    """Return by patch along which columns is written and along which is read."""
    row, null = _orthonormal(parts.row), _orthonormal(parts.null)
    return {
        "row": (row, row),
        "row_unnormalised": (parts.row, parts.row),
        "null": (null, null),
        "null_unnormalised": (parts.null, parts.null),
        "cross": (parts.row, parts.null),
    }


def _orthonormal(part: Tensor) -> Tensor:
    """Return orthonormal columns that span a part's directions longer than `PART_TOLERANCE`, in float64."""
    if not part.shape[1]:
        return part
    left, values, _ = torch.linalg.svd(part, full_matrices=False)
    kept = left[:, values > PART_TOLERANCE]
    return retract(kept) if kept.shape[1] else kept
