"""How much of a subspace is nothing but directions in which an answer is read out; it knows matrices."""

from __future__ import annotations

from torch import Tensor

from das.diagnostics.patches import row_space
from das.diagnostics.share import Share, wide_basis


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
