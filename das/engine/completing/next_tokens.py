"""Says which token is the likeliest after each row, again and again as rows grow; it knows no texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from das.engine.base.hooks import gathered
from das.engine.completing.new_tokens import NewTokens
from das.models.base import TargetModel
from das.out_of_memory import ran_out_of_memory

# How far logits of the same row on two ways may lie apart, relative to the largest.
_TOLERANCES = {torch.float64: 1e-4, torch.float32: 1e-3}
_COARSE = 5e-2

Choose = Callable[[Tensor, Sequence[int]], Tensor]
"""From logits [rows, vocabulary] and the rows' places to the tokens that they grow by, [rows]."""
Within = Callable[[Sequence[int], range], AbstractContextManager[Any]]
"""Makes the context in which a pass runs, given the rows' places among the first ones and which of their
tokens it reads."""


class GrowingRows:
    """Rows of one length that grow by the likeliest token at a time. With `cached`, it is read alone, behind
    what the model's own cache keeps; without, the whole row again, which is right for every model."""

    def __init__(
        self,
        target: TargetModel,
        ids: Tensor,
        *,
        cached: bool,
        within: Within | None = None,
        repeats: int = 1,
    ) -> None:
        """`ids` [rows, tokens]; every pass runs inside `within`. After the first pass each
        row stands `repeats` times, one beside the other, so that it is read once however often it goes on."""
        self._target = target
        self._rows = ids
        self._cached = cached
        self._within = within
        self._places = list(range(len(ids)))
        self._cache: Any = None
        self._read = 0
        self._repeats = repeats

    def next(self) -> Tensor:
        """Return the logits after each row, [rows, vocabulary], at the model's own precision."""
        columns = range(self._read, self._rows.shape[1])
        with nullcontext() if self._within is None else self._within(self._places, columns):
            output = self._pass(self._rows[:, columns.start :])
        if self._cached:
            self._cache, self._read = output.past_key_values, self._rows.shape[1]
        logits: Tensor = output.logits[:, -1]
        if self._repeats > 1:
            logits = logits.repeat_interleave(self._repeats, dim=0)
            self.keep([row for row in range(len(self._rows)) for _ in range(self._repeats)])
            self._repeats = 1
        return logits

    def grow(self, tokens: Tensor) -> None:
        """Put a token [rows] after each row."""
        self._rows = torch.cat([self._rows, tokens[:, None]], dim=1)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some rows only, by their places among those that are there."""
        chosen = torch.tensor(rows, device=self._rows.device)
        self._places = [self._places[row] for row in rows]
        self._rows = self._rows.index_select(0, chosen)
        if self._cache is not None:
            self._cache.batch_select_indices(chosen)

    def _pass(self, ids: Tensor) -> Any:
        head: nn.Module = self._target.model.get_output_embeddings()
        last = torch.full((len(ids), 1), ids.shape[1] - 1, device=ids.device)
        cached = {"past_key_values": self._cache, "use_cache": True} if self._cached else {"use_cache": False}
        with gathered(head, last):
            return self._target.model(input_ids=ids, **cached)


def grow_greedily(
    growing: GrowingRows, places: Sequence[int], new: NewTokens, *, compact: float = 0.0
) -> None:
    """Grow rows by the likeliest token until all of them are done, as `grow` does."""
    grow(growing, places, new, lambda logits, held: logits.argmax(dim=-1), compact=compact)


def grow(
    growing: GrowingRows, places: Sequence[int], new: NewTokens, choose: Choose, *, compact: float = 0.0
) -> None:
    """Grow rows until all of them are done; they stand in `new` at `places`. A done row may run on,
    unwritten; once no more than the share `compact` of the rows goes on the others are left out."""
    held, live = list(places), set(places)
    while True:
        tokens = choose(growing.next(), held)
        pairs = zip(held, tokens.tolist(), strict=True)
        live = {row for row, token in pairs if row in live and new.add(row, token)}
        if not live:
            return
        growing.grow(tokens)
        if len(live) <= compact * len(held):
            kept = [i for i, row in enumerate(held) if row in live]
            growing.keep(kept)
            held = [held[i] for i in kept]


def grows_truly(target: TargetModel) -> bool:
    """Say whether made-up rows that grow behind the model's own cache get the logits of whole rows, over two
    new tokens and with one row left out in between."""
    size = int(target.model.get_input_embeddings().num_embeddings)
    made_up = torch.arange(18, device=target.device).mul(7).add(5).remainder(size).view(2, 9)
    tolerance = _TOLERANCES.get(target.dtype, _COARSE)
    with torch.inference_mode():
        try:
            growing = GrowingRows(target, made_up[:, :7], cached=True)
            for count in (7, 8, 9):
                whole = target.model(input_ids=made_up[:, :count], use_cache=False).logits[:, -1]
                if not close_logits(growing.next(), whole, tolerance):
                    return False
                if count < 9:
                    growing.grow(made_up[:, count])
                if count == 8:
                    growing.keep([1])
                    made_up = made_up[1:]
        # A model that keeps something else, or nothing, fails in ways of its own; whole rows suit all.
        except Exception as error:  # noqa: BLE001, RUF100
            # To run out of memory says nothing about the model.
            if ran_out_of_memory(error):
                raise
            return False
    return True


def close_logits(ours: Tensor, theirs: Tensor, tolerance: float | None = None) -> bool:
    """Say whether logits agree to a share of the largest; None: what their dtype can be held to."""
    bound = _TOLERANCES.get(ours.dtype, _COARSE) if tolerance is None else tolerance
    return bool((ours - theirs).abs().max() <= bound * theirs.abs().max())
