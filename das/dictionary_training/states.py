"""The states of a site at the tokens of running text, and what the loss becomes when others stand in their
place; it knows no autoencoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from das.engine.base.hooks import captured, rewritten
from das.models.base import TargetModel
from das.sites import Site

_PASS_TOKENS = 8192
"""Tokens of a pass that ends at the site."""
_LOGIT_TOKENS = 1024
"""Tokens of a pass whose logits are all wanted."""


def pass_rows(length: int) -> int:
    """Return how many rows of so many tokens go through the model at once."""
    return max(1, _PASS_TOKENS // length)


@torch.no_grad()
def gather_states(
    target: TargetModel,
    site: Site,
    rows: Sequence[tuple[int, ...]],
    *,
    most: int,
    largest_norm: float = math.inf,
    dtype: torch.dtype = torch.bfloat16,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:
    """Return the states of a site at the tokens of rows, [n, width] in `dtype` on the CPU, n at most `most`.

    `rows` are of one length; the model runs up to the site only. The first token of each row is left out,
    for its norm is far from that of all others (Sun et al. 2024, arXiv 2402.17762), and so are special
    tokens and states of a norm above `largest_norm`. Nothing but the result and one pass is in memory.
    `told` is given tokens that were read, and all.
    """
    place, special = target.place(site), torch.tensor(sorted(target.tokenizer.all_special_ids))
    ids = torch.tensor(rows)
    plain = ~torch.isin(ids[:, 1:], special)
    states = torch.empty(min(most, int(plain.sum())), target.width(site), dtype=dtype)
    after = torch.arange(1, ids.shape[1])
    filled, size = 0, pass_rows(ids.shape[1])
    for start in range(0, len(ids), size):
        some = ids[start : start + size]
        with captured({site: place}, {site: after.expand(len(some), -1)}) as found:
            target.model(input_ids=some.to(target.device), use_cache=False)
        vectors = found[site].cpu()[plain[start : start + size]]
        vectors = vectors[vectors.norm(dim=1) <= largest_norm][: len(states) - filled]
        states[filled : filled + len(vectors)] = vectors.to(dtype)
        filled += len(vectors)
        told(min(start + size, len(ids)) * ids.shape[1], ids.numel())
        if filled == len(states):
            break
    return states[:filled]


@torch.no_grad()
def mean_loss(
    target: TargetModel,
    site: Site,
    rows: Sequence[tuple[int, ...]],
    change: Callable[[Tensor], Tensor] | None = None,
) -> float:
    """Return the mean cross entropy of the tokens of rows after the second, in nats, where `change` makes the
    states [..., width] of every token but the first, in float32, into others; None: as the model is."""
    total, size = 0.0, max(1, _LOGIT_TOKENS // len(rows[0]))
    for start in range(0, len(rows), size):
        ids = torch.tensor(rows[start : start + size], device=target.device)
        total += float(_loss(target, site, ids, change))
    return total / (len(rows) * (len(rows[0]) - 2)) if len(rows[0]) > 2 else 0.0


def _loss(target: TargetModel, site: Site, ids: Tensor, change: Callable[[Tensor], Tensor] | None) -> Tensor:
    def logits() -> Tensor:
        found: Tensor = target.model(input_ids=ids, use_cache=False).logits
        return found

    if change is None:
        said = logits()
    else:
        after = torch.arange(1, ids.shape[1], device=ids.device).expand(len(ids), -1)
        with rewritten(target.place(site), after, lambda old: change(old.float()).to(old)):
            said = logits()
    # The token after the first is predicted from a state that is never changed.
    return functional.cross_entropy(
        said[:, 1:-1].flatten(0, 1).float(), ids[:, 2:].flatten(), reduction="sum"
    )
