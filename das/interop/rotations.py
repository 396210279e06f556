"""Matrices whose rows or columns are orthonormal, as other tools store them, and ours, whose columns are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal

from das.featurizers.orthonormal import TOLERANCE, deviation, retract
from das.interop.torch_files import plain_tensor
from ravel.common.errors import SuiteError

Orientation = Literal["auto", "rows", "columns"]
ROUNDED = 1e-2
"""Largest deviation of Q^T Q from the identity that passes for rounding in half precision."""


@dataclass(frozen=True, slots=True)
class Columns:
    """A stored matrix the way round that we keep them."""

    basis: Tensor
    """Orthonormal columns, [d_model, k] in float32."""
    orientation: Orientation
    """Which way round they were stored: `rows` or `columns`."""
    notes: tuple[str, ...]
    """What was assumed or changed."""


def columns_of(
    matrix: Tensor, origin: Path, *, orientation: Orientation = "auto", square: Orientation = "rows"
) -> Columns:
    """Return a matrix [a, b] with orthonormal rows or columns as orthonormal columns.

    Only the longer side can be the vectors' width, for more orthonormal rows than there are columns can't be.
    A square matrix is orthonormal both ways; it is taken as `square` says, with a note, unless `orientation`
    decides. A deviation up to `ROUNDED` is taken for half precision and mended by `retract`, with a note.
    Raises SuiteError for a matrix that is orthonormal in neither way or not in the one that was asked for.
    """
    notes = []
    chosen = orientation
    if chosen == "auto" and matrix.shape[0] == matrix.shape[1]:
        chosen = square
        notes.append(
            f"The matrix is square, so that its numbers can't say whether directions are rows or columns; "
            f"it was read as {chosen}."
        )
    elif chosen == "auto":
        chosen = "rows" if matrix.shape[0] < matrix.shape[1] else "columns"
    columns = matrix.mT if chosen == "rows" else matrix
    worst = deviation(columns) if columns.shape[0] >= columns.shape[1] else float("inf")
    if worst > ROUNDED:
        raise SuiteError(
            expected=f"a matrix with orthonormal {chosen} in {origin}, to {ROUNDED:g}",
            came=f"one of shape {list(matrix.shape)} with a deviation of {worst:.3g}",
            todo="name the rotation of a fitted subspace; without orthonormal directions a swap is no "
            "projection, and the suite has no such featurizer",
        )
    kept = columns.float().contiguous()
    if deviation(kept) > TOLERANCE:
        notes.append(
            f"The directions were orthonormal to {worst:.1g} only, as in half precision; they were made so "
            f"to {TOLERANCE:g}."
        )
        kept = retract(columns).float().contiguous()
    return Columns(kept, chosen, tuple(notes))


class _Layer(nn.Module):
    """A module with one matrix `weight`, as rotation layers have it."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)


def parametrised_state(weight: Tensor) -> dict[str, Tensor]:
    """Return the state dict of torch's orthogonal parametrisation that is seen as `weight` [d, k], k >= 1.
    The free complement is drawn from a stream of its own, so that equal matrices give equal states."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = orthogonal(_Layer(weight.detach().clone()))
    return dict(layer.state_dict())


def stored_weight(state: Mapping[str, Any], prefix: str, origin: Path) -> Tensor:
    """Return the matrix of a rotation layer in a state dict, [a, b] in float64: a plain `weight`, or that of
    torch's orthogonal parametrisation. Raises SuiteError if it is not there, or not whole."""
    original, base = f"{prefix}parametrizations.weight.original", f"{prefix}parametrizations.weight.0.base"
    if original not in state:
        return plain_tensor(state, f"{prefix}weight", origin, shape=(None, None))
    free = plain_tensor(state, original, origin, shape=(None, None))
    long = max(free.shape)
    kept = {"parametrizations.weight.original": free}
    if base in state:
        kept["parametrizations.weight.0.base"] = plain_tensor(state, base, origin, shape=(long, long))
    return _seen(free, kept)


@torch.no_grad()
def _seen(free: Tensor, state: Mapping[str, Tensor]) -> Tensor:
    """Return what torch's orthogonal parametrisation makes of its free matrix."""
    with torch.random.fork_rng(devices=[]):
        start = _Layer(torch.eye(*free.shape, dtype=free.dtype))
        layer = orthogonal(start, use_trivialization=len(state) > 1)
    layer.load_state_dict(state)
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.detach().clone()
