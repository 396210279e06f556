"""Continues rows of token ids greedily after vectors were swapped into each; no texts, no source prompts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from das.engine.base.batch import plan_batches
from das.engine.base.hooks import changed_at
from das.engine.base.pass_limit import PassLimit
from das.engine.completing.new_tokens import NewTokens, Settled
from das.engine.completing.next_tokens import GrowingRows, grow_greedily
from das.finding import Actor
from das.models.base import TargetModel
from das.sites import Site

_COMPACT = 0.5
"""Copying the keys and values of the rows that go on pays once half of the rows are done."""


@dataclass(frozen=True, slots=True, eq=False)
class SwappedRow:
    """A row, and what is swapped into it."""

    ids: tuple[int, ...]
    """Token ids of the base prompt."""
    places: tuple[int, ...]
    """Its tokens whose vectors are changed."""
    source: Tensor
    """The source's vector at the site, [width] in float32."""


def complete_swapped_rows(
    rows: Sequence[SwappedRow],
    target: TargetModel,
    site: Site,
    featurizer: Actor,
    max_new_tokens: int,
    *,
    limit: PassLimit,
    cached: bool,
    settled: Settled | None = None,
    generated: bool = False,
) -> list[tuple[int, ...]]:
    """Return the new token ids of each row: up to the first end token, that included, to where `settled` says
    so of the row's place and its new ids, or to `max_new_tokens`. No gradient.

    Rows run together only with rows of their own length, so that there is no padding and no mask. With
    `cached` the swap happens while the row itself is read, and the new tokens see it through what the model
    keeps; without it, and for rows that grow past a length beyond which the model reads them otherwise, each
    new token reads its row anew, swap included. With `generated` every new token is swapped as well, when it
    is read. A batch has as many tokens as `limit` allows, new ones included.
    """
    new = NewTokens(len(rows), target.end_ids, max_new_tokens, settled)
    lengths = [len(row.ids) + max_new_tokens for row in rows]

    swap = partial(_swap, target, site, featurizer, generated)

    def plan(left: Sequence[int]) -> list[list[int]]:
        return plan_batches([lengths[i] for i in left], batch_tokens=limit.size, enough_tokens=0, exact=True)

    def one(batch: list[int]) -> None:
        new.begin_again(batch)
        with torch.inference_mode():
            growing = GrowingRows(
                target,
                torch.tensor([rows[i].ids for i in batch], device=target.device),
                cached=cached and not target.side(lengths[batch[0]]),
                within=lambda places, columns: swap([rows[batch[i]] for i in places], columns),
            )
            grow_greedily(growing, batch, new, compact=_COMPACT)

    limit.each(len(rows), plan, one)
    return [new.of(row) for row in range(len(rows))]


def _swap(
    target: TargetModel,
    site: Site,
    featurizer: Actor,
    generated: bool,
    rows: Sequence[SwappedRow],
    columns: range,
) -> AbstractContextManager[None]:
    """Return the context in which the vectors of these rows are swapped while `columns` of them are read."""
    chosen = [
        (i, place - columns.start)
        for i, row in enumerate(rows)
        for place in (*row.places, *(range(len(row.ids), columns.stop) if generated else ()))
        if place in columns
    ]
    if not chosen:
        return nullcontext()
    device = target.device
    of_row, places = torch.tensor(chosen, device=device).unbind(dim=1)
    sources = torch.stack([row.source for row in rows]).to(device).index_select(0, of_row)

    def change(base: Tensor) -> Tensor:
        # A block may be computed elsewhere than the featurizer lies.
        return featurizer.interchange(base.to(device), sources).to(base.device)

    return changed_at(target.place(site), len(rows), (of_row, places), change)
