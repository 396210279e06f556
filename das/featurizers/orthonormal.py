"""Matrices with orthonormal columns, and the way back onto them; no featurizer is known here."""

from __future__ import annotations

import torch
from torch import Tensor

from das.threads import one_thread
from ravel.common.errors import SuiteError

TOLERANCE = 1e-5
"""Largest deviation of an entry of Q^T Q from the identity's that still counts as orthonormal, in float32."""


def retract(matrix: Tensor) -> Tensor:
    """Return a matrix [d, k] with orthonormal columns, whose first j span what the given first j span.

    This is the QR retraction on the Stiefel manifold (Absil, Mahony, Sepulchre 2008, section 4.1.1): the Q
    factor whose R has a positive diagonal, hence continuous, differentiable and the identity on orthonormal
    matrices. The polar factor would be the nearest such matrix, but its derivative through an SVD is
    undefined exactly where training stands: at equal singular values. Raises SuiteError if there are more
    columns than rows.
    """
    if matrix.ndim != 2 or matrix.shape[1] > matrix.shape[0]:
        raise SuiteError(
            expected="a matrix with at most as many columns as rows",
            came=f"the shape {tuple(matrix.shape)}",
            todo="choose a dimension no larger than the model's width",
        )
    with one_thread():
        q, r = torch.linalg.qr(matrix)
    signs = torch.where(r.diagonal() < 0, -1.0, 1.0).to(matrix.dtype)
    columns: Tensor = q * signs
    return columns


def deviation(matrix: Tensor) -> float:
    """Return the largest absolute entry of `matrix^T matrix - I`; infinite where an entry is not finite."""
    with torch.no_grad():
        gram = matrix.mT @ matrix
        difference = (gram - torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)).abs()
        worst = difference.max().item() if difference.numel() else 0.0
    return worst if worst == worst else float("inf")


def check_orthonormal(matrix: Tensor, *, what: str) -> None:
    """Raise SuiteError unless the columns of `matrix` [d, k] are orthonormal to `TOLERANCE`."""
    worst = deviation(matrix.detach().float())
    if worst > TOLERANCE:
        raise SuiteError(
            expected=f"{what} with orthonormal columns, to {TOLERANCE:g}",
            came=f"a deviation of {worst:.3g}",
            todo="pass it through das.featurizers.retract first",
        )
