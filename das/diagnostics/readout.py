"""How much of a subspace is nothing but directions in which an answer is read out; it knows matrices."""

from __future__ import annotations

from torch import Tensor

from das.diagnostics.patches import row_space
from das.diagnostics.share import Share, wide_basis
from das.methods.common.coordinates import fixed_signs
from ravel.common.errors import SuiteError


def readout_share(basis: Tensor, directions: Tensor) -> Share:
    """Return the share of a basis [d, k] in the span of given directions [n, d]: |Q^T B|^2 / k.

    Q holds orthonormal columns that span the directions. For the unembedding rows of the answers' tokens
    (`das.diagnostics.readers.unembedding_rows`) or the gradients of an answer's margin, a share near 1 says
    that the subspace does no more than push the answer's logit. By chance it is rank(Q) / d: with as many
    directions as the model is wide, every share is 1 and says nothing. 0 for a basis without columns. Raises
    SuiteError for other widths.
    """
    wide = wide_basis(basis, directions, "directions")
    span = row_space(directions)
    inside = span.mT @ wide
    return Share.within(float(inside.square().sum() / inside.shape[1]) if inside.shape[1] else 0.0, span)


def top_directions(matrix: Tensor, r: int) -> Tensor:
    """Return the r directions that the rows of a matrix [n, d] have most of, [d, r] orthonormal in float64.

    They are its first right singular vectors: as a subspace, the control that only knows gradients or readout
    rows. Each column's largest entry in size is made positive. Raises SuiteError for more directions than the
    rows span.
    """
    span = row_space(matrix)
    if not 0 <= r <= span.shape[1]:
        raise SuiteError(
            expected=f"at most {span.shape[1]} directions, for that many are spanned",
            came=str(r),
            todo="ask for fewer or give more rows",
        )
    return fixed_signs(span[:, :r]) if r else span[:, :r]
