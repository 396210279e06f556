"""Which way the answers' logit difference grows at a site; it knows no subspace and no score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from das.engine.base.protocol import Engine
from das.methods.common.contrast import ContrastPair, MaskPerPair, slopes_of
from das.sites import Site

_BATCH = 32


def gradient_rows(pairs: Sequence[ContrastPair], engine: Engine, site: Site) -> Tensor:
    """Return each pair's gradient of the logit difference at the site's vector, nothing swapped.

    [n_pairs, width] in float64 on the CPU, in the order in which the engine ran them.
    """
    found = [
        _batch_rows(pairs[start : start + _BATCH], engine, site) for start in range(0, len(pairs), _BATCH)
    ]
    return torch.cat(found) if found else torch.zeros(0, engine.target.width(site), dtype=torch.float64)


def leading_rows(rows: Tensor, energy: float) -> Tensor:
    """Return as few directions as hold a share `energy` of the rows' sum of squares, [r, width], each times
    its singular value: the rows without what they hardly have."""
    _, values, directions = torch.linalg.svd(rows, full_matrices=False)
    held = values.square().cumsum(0) / values.square().sum()
    count = int((held < energy).sum()) + 1
    kept: Tensor = values[:count, None] * directions[:count]
    return kept


def _batch_rows(pairs: Sequence[ContrastPair], engine: Engine, site: Site) -> Tensor:
    probe = _Slopes(engine.target.width(site))
    both = zip(slopes_of(pairs, engine, site, probe), probe.changes, strict=True)
    return torch.cat([_per_unit(s, c) for s, c in both if s is not None]).double().cpu()


def _per_unit(slope: Tensor, change: Tensor) -> Tensor:
    """Undo what the mask multiplies: slope in the mask over source - base; 0 where both vectors agree."""
    width = change.shape[-1]
    return torch.where(change == 0, 0.0, slope / change).reshape(-1, width)


@final
class _Slopes(MaskPerPair):
    """Swaps nothing, by a mask of its own for each pair and neuron that is kept for its gradient.

    It lives as long as one call of an engine and is never saved.
    """

    kind = "slopes"

    def __init__(self, width: int) -> None:
        super().__init__()
        self.changes: list[Tensor] = []
        self._width = width
        self._seen: list[Tensor] = []

    @property
    def width(self) -> int:
        return self._width

    @property
    def size(self) -> int:
        return 0

    def encode(self, vectors: Tensor) -> Tensor:
        # An interchange encodes the base, then the source, then asks for the mask.
        self._seen = [*self._seen[-1:], vectors.detach()]
        return vectors

    def decode(self, features: Tensor) -> Tensor:
        return features

    def mask(self) -> Tensor:
        base, source = self._seen
        leaf = torch.zeros_like(base, requires_grad=True)
        self.leaves.append(leaf)
        self.changes.append(source - base)
        return leaf
