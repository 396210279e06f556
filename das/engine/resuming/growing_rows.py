"""Rows that are read once, changed at their cut, and then grow by a token at a time behind their own keys and
values; which tokens they grow by is not known here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import TypeVar

import torch
from torch import Tensor

from das.engine.base.cut_rows import Cut, CutRow
from das.engine.base.lanes import rows_of
from das.engine.kept.state_pool import CutStates
from das.engine.resuming.key_values import Begun, GrowingKeyValues
from das.engine.resuming.layout import Layout, Slots, lay_out
from das.engine.resuming.state_runner import StateRunner, at_starts, with_first

T = TypeVar("T")
RowPlan = Callable[[Sequence[CutRow]], list[list[int]]]
"""How rows are shared out among passes, by their places."""


class GrowingCutRows:
    """Rows under way, by their numbers. A row's results do not depend on the rows that run beside it.

    Keys and values of all blocks are held as long as the rows are; what stands before the cuts runs once for
    all rows that begin alike.
    """

    def __init__(self, runner: StateRunner, rows: Sequence[CutRow], most: int) -> None:
        """Each row has room for `most` new tokens."""
        self._runner = runner
        self._rows = list(rows)
        room = [len(row.ids) + most for row in rows]
        self._pool = runner.passing(runner.runner.n_blocks, sum(room)).keys
        first = self._pool.reserve(sum(room))
        self._firsts = [first + before for before in accumulate([0, *room[:-1]])]

    def read(
        self, cut: Cut, changed: Tensor | None, plan: RowPlan, answer: Callable[[Tensor], list[T]]
    ) -> list[T]:
        """Read all rows with `changed` [rows, width] at their cuts (None: nothing is); return what `answer`
        makes of what comes out of the last block at the rows' ends, [rows of a pass, d_model]."""
        self._copy(self._beginnings())

        def one(batch: list[int]) -> list[T]:
            here = None if changed is None else rows_of(changed, batch)
            return answer(self._run(batch, cut, here))

        batches = plan(self._rows)
        found = self._runner.lanes_at(cut).run([partial(one, batch) for batch in batches])
        return _in_order(batches, found)

    def grow(
        self,
        numbers: Sequence[int],
        tokens: Sequence[int],
        plan: RowPlan,
        answer: Callable[[Tensor], list[T]],
    ) -> list[T]:
        """Put a token behind each of some rows; return what `answer` makes of it, as `read`."""
        for number, token in zip(numbers, tokens, strict=True):
            row = self._rows[number]
            ids = (*row.ids, token)
            self._rows[number] = CutRow(ids, len(row.ids), len(ids), len(ids))
        batches = plan([self._rows[number] for number in numbers])

        def one(batch: list[int]) -> list[T]:
            return answer(self._run([numbers[place] for place in batch], None, None))

        return _in_order(batches, self._runner.lanes.run([partial(one, batch) for batch in batches]))

    def _run(self, numbers: Sequence[int], cut: Cut | None, changed: Tensor | None) -> Tensor:
        """Run what is new of some rows; return what comes out at their ends, [rows, d_model]."""
        rows = [self._rows[number] for number in numbers]
        layout = lay_out(rows, [Slots(0, 0)] * len(rows), self._pool.columns[0].device)
        firsts = [self._firsts[number] for number in numbers]
        memory = GrowingKeyValues(self._pool, layout, rows, firsts)
        hidden, layer = self._runner.embedded(Begun(rows, None), layout), -1
        if cut is not None and changed is not None:
            hidden, layer = self._changed(hidden, layout, memory, cut, changed), cut.layer
        asked = self._runner.run_on(hidden, layout, memory, layer)
        return asked.flatten(0, 1).index_select(0, layout.answers)

    def _changed(
        self, hidden: Tensor, layout: Layout, memory: GrowingKeyValues, cut: Cut, changed: Tensor
    ) -> Tensor:
        """Run rows through the blocks up to that of the cut, with `changed` at its place in their first
        tokens; return what leaves it, [rows, tokens, d_model]."""
        run, tokens = self._runner.runner.run, layout.tokens
        if cut.inside is None:
            return with_first(run(hidden, range(cut.layer + 1), tokens, memory), changed)
        hidden = run(hidden, range(cut.layer), tokens, memory)
        with at_starts(cut.inside, changed):
            return run(hidden, range(cut.layer, cut.layer + 1), tokens, memory)

    def _beginnings(self) -> CutStates:
        """Return the keys and values in all blocks of what stands before the rows' cuts."""
        prefixes = list(dict.fromkeys(row.prefix for row in self._rows if row.start))
        n_blocks = self._runner.runner.n_blocks
        before = self._runner.passing(n_blocks, sum(map(len, prefixes)))
        if prefixes:
            self._runner.run_prefixes(prefixes, [(before, range(n_blocks))])
        return before

    def _copy(self, before: CutStates) -> None:
        """Put what stands before each row's cut where the row goes on."""
        runs = [
            (before.prefixes[row.prefix], first, row.start)
            for row, first in zip(self._rows, self._firsts, strict=True)
        ]
        device = self._pool.columns[0].device
        origin = torch.cat([torch.arange(known, known + count) for known, _, count in runs]).to(device)
        goal = torch.cat([torch.arange(first, first + count) for _, first, count in runs]).to(device)
        for column, known in zip(self._pool.columns, before.keys.columns, strict=True):
            column.index_copy_(0, goal, known.index_select(0, origin))


def _in_order(batches: Sequence[list[int]], found: Sequence[list[T]]) -> list[T]:
    by_place = {
        place: one
        for batch, of_batch in zip(batches, found, strict=True)
        for place, one in zip(batch, of_batch, strict=True)
    }
    return [by_place[place] for place in range(len(by_place))]
