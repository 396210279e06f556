"""Continues rows of token ids greedily after a vector was swapped in at a place of each. It knows no texts
and no source prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from das.engine.base.batch import plan_batches
from das.engine.base.hooks import rewritten
from das.engine.running.next_tokens import GrowingRows
from das.engine.running.pass_limit import Room
from das.featurizers.base import Featurizer
from das.models.base import TargetModel
from das.sites import Site

__all__ = ["SwappedRow", "complete_swapped_rows"]

# Copying the keys and values of the rows that go on pays once half of the rows are done.
_COMPACT = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class SwappedRow:
    """A row, and what is swapped into it."""

    ids: tuple[int, ...]
    """Token ids of the base prompt."""
    place: int
    """The token whose vector is changed."""
    source: Tensor
    """The source's vector at the site, [width] in float32."""


def complete_swapped_rows(
    rows: Sequence[SwappedRow],
    target: TargetModel,
    site: Site,
    featurizer: Featurizer,
    max_new_tokens: int,
    *,
    room: Room,
    cached: bool,
    settled: Callable[[int, tuple[int, ...]], bool] | None = None,
) -> list[tuple[int, ...]]:
    """Return the new token ids of each row: up to the first end token, that included, to where `settled` says
    so of the row's place and its new ids, or to `max_new_tokens`. No gradient.

    Rows run together only with rows of their own length, so that there is no padding and no mask. With
    `cached` the swap happens while the row itself is read, and the new tokens see it through what the model
    keeps; without it, and for rows that grow past a length beyond which the model reads them otherwise, each
    new token reads its row anew, swap included. A batch has as many tokens as there is room for, new ones
    included.
    """
    found: list[list[int]] = [[] for _ in rows]

    def goes_on(row: int, token: int) -> bool:
        ids = found[row]
        ids.append(token)
        if token in target.end_ids or len(ids) >= max_new_tokens:
            return False
        return settled is None or not settled(row, tuple(ids))

    lengths = [len(row.ids) + max_new_tokens for row in rows]

    def plan(left: Sequence[int]) -> list[list[int]]:
        own = [lengths[i] for i in left]
        return plan_batches(own, batch_tokens=room.size, enough_tokens=0, exact=True)

    def one(batch: list[int]) -> None:
        for row in batch:
            found[row].clear()
        with torch.inference_mode():
            keeps = cached and not target.side(lengths[batch[0]])
            _complete_batch(batch, rows, target, site, featurizer, goes_on, cached=keeps)

    room.each(len(rows), plan, one)
    return [tuple(ids) for ids in found]


def _complete_batch(
    batch: list[int],
    rows: Sequence[SwappedRow],
    target: TargetModel,
    site: Site,
    featurizer: Featurizer,
    goes_on: Callable[[int, int], bool],
    *,
    cached: bool,
) -> None:
    held, live = list(batch), set(batch)
    ids = torch.tensor([rows[i].ids for i in batch], device=target.device)

    def swapped() -> AbstractContextManager[None]:
        return _swap([rows[i] for i in held], target, site, featurizer)

    growing = GrowingRows(target, ids, cached=cached, within=swapped)
    # A done row may run on beside the others; what it says then is not written down.
    while True:
        tokens = growing.next().argmax(dim=-1)
        said = tokens.tolist()
        live = {row for row, token in zip(held, said, strict=True) if row in live and goes_on(row, token)}
        if not live:
            return
        growing.grow(tokens)
        if len(live) <= _COMPACT * len(held):
            kept = [i for i, row in enumerate(held) if row in live]
            growing.keep(torch.tensor(kept, device=target.device))
            held = [held[i] for i in kept]


def _swap(
    rows: Sequence[SwappedRow], target: TargetModel, site: Site, featurizer: Featurizer
) -> AbstractContextManager[None]:
    """Return the context in which the vectors of these rows are swapped."""
    device = target.device
    places = torch.tensor([row.place for row in rows], device=device)
    sources = torch.stack([row.source for row in rows]).to(device)

    def change(base: Tensor) -> Tensor:
        # A block may be computed elsewhere than the featurizer lies.
        return featurizer.interchange(base.to(device), sources).to(base.device)

    return rewritten(target.place(site), places, change)
