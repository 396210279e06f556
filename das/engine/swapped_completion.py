"""Continues rows of token ids greedily after a vector was swapped in at a place of each. It knows no texts
and no source prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from das.engine.batch import plan_batches
from das.engine.hooks import gathered, rewritten
from das.engine.room import Room
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
    settled: Callable[[int, tuple[int, ...]], bool] | None = None,
) -> list[tuple[int, ...]]:
    """Return the new token ids of each row: up to the first end token, that included, to where `settled` says
    so of the row's place and its new ids, or to `max_new_tokens`. No gradient.

    Rows run together only with rows of their own length, so that there is no padding and no mask. The swap
    happens while the row itself is read; the new tokens see it through the keys and values that the model
    keeps. A batch has as many tokens as there is room for, new ones included.
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
            _complete_batch(batch, rows, target, site, featurizer, goes_on)

    room.each(len(rows), plan, one)
    return [tuple(ids) for ids in found]


def _complete_batch(
    batch: list[int],
    rows: Sequence[SwappedRow],
    target: TargetModel,
    site: Site,
    featurizer: Featurizer,
    goes_on: Callable[[int, int], bool],
) -> None:
    device = target.device
    step = torch.tensor([rows[i].ids for i in batch], device=device)
    places = torch.tensor([rows[i].place for i in batch], device=device)
    sources = torch.stack([rows[i].source for i in batch]).to(device)

    def change(base: Tensor) -> Tensor:
        # A block may be computed elsewhere than the featurizer lies.
        return featurizer.interchange(base.to(device), sources).to(base.device)

    with rewritten(target.place(site), places, change):
        tokens, cache = _step(target, step, None)
    # A done row may run on beside the others; what it says then is not written down.
    held, live = list(batch), set(batch)
    while True:
        said = tokens.tolist()
        live = {row for row, token in zip(held, said, strict=True) if row in live and goes_on(row, token)}
        if not live:
            return
        if len(live) <= _COMPACT * len(held):
            kept = torch.tensor([i for i, row in enumerate(held) if row in live], device=device)
            cache.batch_select_indices(kept)
            held, tokens = [row for row in held if row in live], tokens.index_select(0, kept)
        tokens, cache = _step(target, tokens[:, None], cache)


def _step(target: TargetModel, ids: Tensor, cache: Any) -> tuple[Tensor, Any]:
    """Read tokens [rows, tokens] and return the likeliest next ones, [rows], with what the model keeps."""
    head: nn.Module = target.model.get_output_embeddings()
    last = torch.full((len(ids), 1), ids.shape[1] - 1, device=ids.device)
    with gathered(head, last):
        output = target.model(input_ids=ids, past_key_values=cache, use_cache=True)
    return output.logits[:, -1].argmax(dim=-1), output.past_key_values
