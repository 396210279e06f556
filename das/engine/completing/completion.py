"""Continues rows of token ids greedily, in the fastest way true to a model; no texts, sites, featurizers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from das.engine.base.batch import plan_batches
from das.engine.base.pass_limit import PassLimit
from das.engine.completing.cached_model import CachedModel
from das.engine.completing.new_tokens import NewTokens, Settled
from das.engine.completing.next_tokens import GrowingRows, close_logits, grow_greedily, grows_truly
from das.engine.completing.shared_beginnings import Row
from das.engine.completing.shared_run import Bounds, SharedRun
from das.models.base import TargetModel
from das.out_of_memory import ran_out_of_memory

_SHARERS = 8
"""With fewer rows behind it, to run a shared beginning on its own and copy what it leaves costs too much."""
_CALL_TOKENS = 2048
"""On a CPU more tokens in a call are no faster, and fall out of its caches."""
_KEPT_BYTES = 1 << 28
"""Memory that stays at hand between calls."""


class Completer:
    """Continues rows greedily on one target model.

    A beginning that many rows share runs once; its keys and values are copied before each row's own tokens,
    which run in batches of one length with true positions. The projection to the vocabulary, and the last
    block behind its keys and values, see each row's last token only. Rows that go on are put together from
    many batches and run token by token; done ones are dropped.

    Whether the model can be run that way is tried on first use with two made-up rows, against whole rows
    without a cache. If not (a model that keeps more than keys and values, or builds its own positions), rows
    of one length run whole and grow the model's own cache; if that too differs from whole rows (a model that
    keeps nothing), they run whole for each new token. So do rows that grow past a length beyond which the
    model reads a whole row otherwise.
    """

    def __init__(self, target: TargetModel, batch_tokens: int = 16_384, *, sharers: int = _SHARERS) -> None:
        """`batch_tokens` bounds the tokens whose keys and values are kept at a time, padding and new tokens
        included; while rows are put together, half as many again. `sharers` is the least number of rows for
        which a beginning runs on its own."""
        self._target = target
        self._batch_tokens = batch_tokens
        self._sharers = sharers
        self._model = CachedModel(target)
        self._shares: bool | None = None
        self._grows: bool | None = None

    @property
    def shares(self) -> bool:
        """Whether beginnings are shared and done rows dropped; False: rows of one length run whole."""
        if self._shares is None:
            with torch.inference_mode():
                self._shares = self._agrees(narrows=True) or self._agrees(narrows=False)
        return self._shares

    @property
    def grows(self) -> bool:
        """Whether the model's own cache is true to whole rows; False: every new token reads its row anew."""
        if self._grows is None:
            self._grows = grows_truly(self._target)
        return self._grows

    @property
    def narrows(self) -> bool:
        """Whether the last block's later parts see each row's last token only."""
        return self.shares and self._model.narrows

    def complete(
        self,
        rows: Sequence[Row],
        max_new_tokens: int,
        settled: Settled | None = None,
        *,
        limit: PassLimit | None = None,
    ) -> list[Row]:
        """Return the new token ids of each row: up to the first end token, that included, to where `settled`
        says so, or `max_new_tokens` of them. No row may be empty.

        With `limit`, which then bounds the tokens, rows that are not done when memory does not suffice are
        begun again in smaller batches. Raises MemoryShortageError as `PassLimit.attempt`.
        """
        if max_new_tokens < 1:
            return [() for _ in rows]
        known: dict[int, Row] = {}
        # Rows that are, or may grow, past a length beyond which the model reads them otherwise.
        turning = [side > 0 for side in self._target.sides(len(row) + max_new_tokens for row in rows)]
        for kind in sorted(set(turning)):
            left = [i for i in range(len(rows)) if turning[i] == kind]
            while left:
                if limit is not None:
                    self._batch_tokens = limit.size
                new = NewTokens(
                    len(left), self._target.end_ids, max_new_tokens, _settled_among(left, settled)
                )
                work = partial(self._run, [rows[i] for i in left], new, turns=kind)
                if limit is None:
                    work()
                elif not limit.attempt(work):
                    self._model.buffers.trim(0)
                known.update((left[i], new.of(i)) for i in new.done)
                left = [i for i in left if i not in known]
        self._model.buffers.trim(_KEPT_BYTES)
        return [known[i] for i in range(len(rows))]

    def go_on(
        self,
        rows: Sequence[tuple[Row, Row]],
        max_new_tokens: int,
        settled: Settled | None = None,
        *,
        limit: PassLimit | None = None,
    ) -> list[Row]:
        """Return as `complete` the new token ids of rows whose second parts are new ones already: these are
        part of what is returned, of what `settled` is told and of `max_new_tokens`."""
        by_length: dict[int, list[int]] = {}
        for place, (_, begun) in enumerate(rows):
            by_length.setdefault(len(begun), []).append(place)
        found: dict[int, Row] = {}
        for length, places in by_length.items():
            whole = [(*row, *begun) for row, begun in (rows[place] for place in places)]
            rule = _settled_among(places, _settled_behind([begun for _, begun in rows], settled))
            new = self.complete(whole, max_new_tokens - length, rule, limit=limit)
            found.update((p, (*rows[p][1], *ids)) for p, ids in zip(places, new, strict=True))
        return [found[place] for place in range(len(rows))]

    def _run(self, rows: Sequence[Row], new: NewTokens, *, turns: bool) -> None:
        with torch.inference_mode():
            if not turns and len(rows) > 1 and self.shares:
                SharedRun(self._model, rows, new, self._bounds()).run()
            else:
                # With one new token there is nothing to go on from.
                self._whole_rows(rows, new, cached=not turns and new.most > 1 and self.grows)

    def _bounds(self) -> Bounds:
        most, on_cpu = self._batch_tokens, self._target.device.type == "cpu"
        call = min(most, _CALL_TOKENS) if on_cpu else most
        return Bounds(batch=most, call=call, held=most // 2, sharers=self._sharers)

    def _whole_rows(self, rows: Sequence[Row], new: NewTokens, *, cached: bool) -> None:
        """Run rows of one length whole until all of a batch are done; `cached`: a new token runs alone."""
        lengths = [len(row) + new.most for row in rows]
        for batch in plan_batches(lengths, batch_tokens=self._batch_tokens, enough_tokens=0, exact=True):
            ids = torch.tensor([rows[row] for row in batch], device=self._target.device)
            grow_greedily(GrowingRows(self._target, ids, cached=cached), batch, new)

    def _agrees(self, *, narrows: bool) -> bool:
        """Say whether two made-up rows get the logits of whole rows: behind beginnings of different lengths,
        and one token on."""
        model = self._model
        model.narrows = narrows
        size = int(self._target.config.vocab_size)
        made_up = [(7 * place + 5) % size for place in range(10)]
        rows = [tuple(made_up[:9]), (*made_up[:4], *made_up[6:9]), (*made_up[:9], made_up[9])]
        try:
            beginnings = model.beginnings([rows[0][:6], rows[1][:4]], self._batch_tokens)
            running = model.behind(rows[:2], 3, beginnings, [0, 1], places=[0, 1], spare=1)
            first = model.logits(running)
            running.tokens = torch.full((2, 1), made_up[9], device=self._target.device)
            second = model.logits(running)
            whole = [self._whole(row) for row in rows]
        # A model that wants something else fails in ways of its own; the plain way is right for all.
        except Exception as error:  # noqa: BLE001, RUF100
            # To run out of memory says nothing about the model.
            if ran_out_of_memory(error):
                raise
            return False
        return all(map(close_logits, [first[0], first[1], second[0]], whole))

    def _whole(self, row: Row) -> Tensor:
        ids = torch.tensor([row], device=self._target.device)
        logits: Tensor = self._target.model(input_ids=ids, use_cache=False).logits[0, -1]
        return logits


def _settled_behind(begun: Sequence[Row], settled: Settled | None) -> Settled | None:
    """Return the rule for what comes behind the new tokens that rows have already."""
    if settled is None:
        return None
    return lambda row, token_ids: settled(row, (*begun[row], *token_ids))


def _settled_among(rows: Sequence[int], settled: Settled | None) -> Settled | None:
    """Return the rule for places among some rows."""
    if settled is None:
        return None
    return lambda place, token_ids: settled(rows[place], token_ids)
