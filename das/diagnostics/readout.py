"""How much of a subspace is nothing but directions in which an answer is read out; it knows matrices."""

from __future__ import annotations

import torch
from torch import Tensor

from das.diagnostics.patches import row_space
from das.diagnostics.share import Share
from das.featurizers.orthonormal import check_orthonormal
from ravel.common.errors import SuiteError

__all__ = ["readout_share", "top_directions"]


def readout_share(basis: Tensor, directions: Tensor) -> Share:
    """Return the share of a basis [d, k] in the span of given directions [n, d]: |Q^T B|^2 / k.

    Q holds orthonormal columns that span the directions. For the unembedding rows of the answers' tokens
    (`das.diagnostics.readers.unembedding_rows`) or the gradients of an answer's margin, a share near 1 says
    that the subspace does no more than push the answer's logit. By chance it is rank(Q) / d: with as many
    directions as the model is wide, every share is 1 and says nothing. 0 for a basis without columns. Raises
    SuiteError for other widths.
    """
    if basis.ndim != 2 or directions.ndim != 2 or directions.shape[1] != basis.shape[0]:
        raise SuiteError(
            expected="a basis [d_model, k] and directions [n, d_model] of one width",
            came=f"the shapes {list(basis.shape)} and {list(directions.shape)}",
            todo="give directions as rows, of the site that the basis was found at",
        )
    check_orthonormal(basis, what="a basis")
    span = row_space(directions)
    inside = span.mT @ basis.detach().double().cpu()
    share = float(inside.square().sum() / inside.shape[1]) if inside.shape[1] else 0.0
    return Share(min(share, 1.0), chance=span.shape[1] / span.shape[0], directions=int(span.shape[1]))


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
    kept = span[:, :r]
    if not r:
        return kept
    largest = kept.gather(0, kept.abs().argmax(dim=0, keepdim=True))
    return kept * torch.where(largest < 0, -1.0, 1.0)
