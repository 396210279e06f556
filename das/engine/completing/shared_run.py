"""Rows that begin alike, continued together: which of them run when, and what they come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from das.engine.base.labels import likeliest
from das.engine.completing.cached_model import CachedModel, RunningRows
from das.engine.completing.new_tokens import NewTokens
from das.engine.completing.shared_beginnings import ALIKE, Row, plan_behind_beginnings, shared_cuts

_SPARE = 4
"""New tokens for which there is room from the start."""
_TOO_FEW = 0.25
"""Rows that run together wait for others once fewer than this share of them go on ..."""
_MOSTLY_LIVE = 0.6
"""... and leave the done ones behind below this one: copying costs less than running them."""
_FEW_ROWS = 128
"""So few rows run together whatever their lengths."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much runs at a time, in tokens; all bounds give way to a single row."""

    batch: int
    """Tokens of one pass over beginnings."""
    call: int
    """Tokens of one pass behind them."""
    held: int
    """Tokens that wait until rows of many batches run on together."""
    sharers: int
    """Least number of rows behind a beginning that runs on its own."""


class SharedRun:
    """One run of rows: what they share runs once, those that go on run together, done ones drop out."""

    def __init__(self, model: CachedModel, rows: Sequence[Row], new: NewTokens, bounds: Bounds) -> None:
        """What the rows come to is written into `new`."""
        self._model = model
        self._rows = rows
        self._new = new
        self._bounds = bounds
        self._spare = min(new.most, _SPARE)

    def run(self) -> None:
        """Run all rows, first to their first new tokens, and in between those together that go on."""
        rows, bounds = self._rows, self._bounds
        order = sorted(range(len(rows)), key=rows.__getitem__)
        cuts = dict(zip(order, shared_cuts([rows[row] for row in order], bounds.sharers), strict=True))
        numbers: dict[Row, int] = {}
        for row in order:
            numbers.setdefault(rows[row][: cuts[row]], len(numbers))
        beginnings = self._model.beginnings(list(numbers), bounds.batch)
        held: list[RunningRows] = []
        for batch in plan_behind_beginnings(
            [len(row) for row in rows], cuts, self._new.most, call_tokens=bounds.call, held_tokens=bounds.held
        ):
            running = self._model.behind(
                [rows[row] for row in batch],
                len(rows[batch[0]]) - cuts[batch[0]],
                beginnings,
                [numbers[rows[row][: cuts[row]]] for row in batch],
                places=batch,
                spare=self._spare,
            )
            self._step(running)
            held += _with_live(running)
            while sum(len(one.rows) * (one.length + _SPARE) for one in held) > bounds.held:
                held = self._run_most(held)
        while held:
            held = self._run_most(held)

    def _step(self, running: RunningRows) -> None:
        """Run the next tokens, write the new ones down and see which rows go on."""
        tokens = likeliest(self._model.logits(running))
        running.tokens = torch.tensor(tokens, device=running.tokens.device)[:, None]
        running.live = [place for place in running.live if self._new.add(running.rows[place], tokens[place])]

    def _run_most(self, held: list[RunningRows]) -> list[RunningRows]:
        """Run those rows together that are of about one length and most, or all if that is few; return all
        that still go on."""
        if sum(len(one.live) for one in held) <= _FEW_ROWS:
            return self._go_on(held, until=0)
        counts: dict[int, int] = {}
        for one in held:
            counts[one.length // ALIKE] = counts.get(one.length // ALIKE, 0) + len(one.live)
        most = max(counts, key=counts.__getitem__)
        chosen = [one for one in held if one.length // ALIKE == most]
        others = [one for one in held if one.length // ALIKE != most]
        return others + self._go_on(chosen, until=_TOO_FEW)

    def _go_on(self, held: list[RunningRows], *, until: float) -> list[RunningRows]:
        """Run rows together until that share of them is left; return these, still as one."""
        running = self._model.together(held, self._spare)
        least = until * len(running.rows)
        while len(running.live) > least:
            if len(running.live) < _MOSTLY_LIVE * len(running.rows):
                running = self._model.together([running], self._spare)
            self._step(running)
        return _with_live(running)


def _with_live(running: RunningRows) -> list[RunningRows]:
    """Return the rows if some of them go on; otherwise give their memory back and return none."""
    if running.live:
        return [running]
    running.release()
    return []
