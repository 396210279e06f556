"""Continues rows by chance, with chances that are drawn before; no texts, sites, featurizers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from das.engine.base.batch import plan_batches
from das.engine.base.pass_limit import PassLimit
from das.engine.completing.new_tokens import NewTokens, Settled
from das.engine.completing.next_tokens import GrowingRows, grow
from das.engine.completing.shared_beginnings import Row
from das.models.base import TargetModel

_COMPACT = 0.5
"""Done rows are dropped once no more than this share goes on."""


def drawn_tokens(logits: Tensor, chances: Tensor, temperature: float) -> Tensor:
    """Return the token of each row at which the sum of probabilities, softmax(logits [rows, vocabulary] /
    temperature) from the first token on, passes its chance in [0, 1), int64 [rows]."""
    sums = (logits.double() / temperature).softmax(dim=-1).cumsum(dim=-1)
    passed = sums <= (chances.double() * sums[:, -1])[:, None]
    return passed.sum(dim=-1).clamp_max(logits.shape[1] - 1)


def sample_rows(
    target: TargetModel,
    rows: Sequence[Row],
    chances: Tensor,
    temperature: float,
    *,
    limit: PassLimit,
    cached: bool,
    settled: Settled | None = None,
) -> list[list[Row]]:
    """Continue each row once for each of its rows of `chances` [n_rows, n_samples, max_new_tokens]; return
    the new token ids as `Completer.complete` does, each drawn by the next chance (`drawn_tokens`).

    A row is read once; `cached`: a new token then runs alone, behind what the model's own cache keeps. A pass
    that does not fit is run again in halves. `settled` is asked by the row's place.
    """
    n, most = chances.shape[1:]
    new = NewTokens(
        len(rows) * n,
        target.end_ids,
        most,
        None if settled is None else lambda place, ids: settled(place // n, ids),
    )
    flat = chances.flatten(0, 1)

    def plan(left: Sequence[int]) -> list[list[int]]:
        lengths = [(len(rows[i]) + most) * n for i in left]
        return plan_batches(lengths, batch_tokens=limit.size, enough_tokens=0, exact=True)

    def choose(logits: Tensor, held: Sequence[int]) -> Tensor:
        steps = torch.tensor([min(len(new.of(place)), most - 1) for place in held])
        asked = flat[torch.tensor(held), steps]
        return drawn_tokens(logits, asked.to(logits.device), temperature)

    def one(batch: list[int]) -> None:
        places = [i * n + j for i in batch for j in range(n)]
        new.begin_again(places)
        ids = torch.tensor([rows[i] for i in batch], device=target.device)
        with torch.inference_mode():
            grow(
                GrowingRows(target, ids, cached=cached and most > 1, repeats=n),
                *(places, new, choose),
                compact=_COMPACT,
            )

    if n and most:
        limit.each(len(rows), plan, one)
    return [[new.of(i * n + j) for j in range(n)] for i in range(len(rows))]
