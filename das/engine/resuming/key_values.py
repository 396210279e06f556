"""Where the keys and values of a pass go to and come from; no model is run here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from das.engine.base.cut_rows import CutRow
from das.engine.kept.state_pool import CutStates, StatePool
from das.engine.resuming.layout import Layout


@dataclass(frozen=True, slots=True)
class Begun:
    """Rows cut behind what many of them begin with, which ran before; or not cut."""

    rows: list[CutRow]
    """The rows."""
    shared: CutStates | None
    """Keys and values of what stands before their starts, from the first block on; None: nothing does."""

    def slot(self, row: CutRow) -> int:
        """Return the first slot of what stands before a row's start."""
        return 0 if self.shared is None else self.shared.prefixes[row.prefix]


class PaddedKeyValues:
    """Keys and values of whole rows of which nothing is kept; `count` keys of padding follow."""

    def __init__(self, count: int) -> None:
        self._count = count

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return the new keys and values [rows, heads, tokens, width] with padding behind."""
        return functional.pad(keys, (0, 0, 0, self._count)), functional.pad(values, (0, 0, 0, self._count))


class RecordedKeyValues:
    """Keys and values of rows that begin, alone or behind a beginning that ran before; those of all their
    tokens are kept."""

    def __init__(self, layout: Layout, rows: Sequence[CutRow], shared: CutStates | None) -> None:
        """`shared` holds what stands before the starts of rows, all blocks from the first; None: nothing."""
        tokens = layout.tokens
        self._rows = rows
        self._shared = shared
        self._device = tokens.positions.device
        self._inner: PaddedKeyValues | ResumedKeyValues = (
            PaddedKeyValues(tokens.n_keys - tokens.positions.shape[1])
            if shared is None
            else ResumedKeyValues(shared, layout, 0)
        )
        width = tokens.positions.shape[1]
        self._taken = _slots([(i * width, row.after) for i, row in enumerate(rows)], self._device)
        self._kept: list[tuple[CutStates, range, Tensor]] = []

    def keeps_in(self, states: CutStates, blocks: range) -> None:
        """Keep those of `blocks` in the states of a cut, whose first columns are the first of them."""
        firsts = [states.add_prefix(row.ids, len(row.ids)) for row in self._rows]
        own = [(first + row.start, row.after) for first, row in zip(firsts, self._rows, strict=True)]
        self._kept.append((states, blocks, _slots(own, self._device)))
        if self._shared is None:
            return
        runs = [(self._shared.prefixes[row.prefix], row.start) for row in self._rows]
        origin = _slots(runs, self._device)
        goal = _slots(
            [(first, row.start) for first, row in zip(firsts, self._rows, strict=True)], self._device
        )
        before = self._shared.keys.columns[2 * blocks.start :]
        for column, known in zip(states.keys.columns, before, strict=False):
            column.index_copy_(0, goal, known.index_select(0, origin))

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the new keys and values; return all that their tokens may look at."""
        for states, blocks, slots in self._kept:
            if layer in blocks:
                columns = states.keys.columns[2 * (layer - blocks.start) :]
                for column, new in zip(columns, (keys, values), strict=False):
                    column.index_copy_(0, slots, _by_token(new).index_select(0, self._taken))
        return self._inner.update(layer, keys, values)


class ResumedKeyValues:
    """Keys and values of rows that run on: kept ones, and the new ones after them."""

    def __init__(self, states: CutStates, layout: Layout, first: int) -> None:
        self._states = states
        self._first = first
        self._key_slots = layout.key_slots
        slots = layout.tokens.slots
        base = torch.arange(len(slots), device=slots.device)[:, None] * layout.key_slots.shape[1]
        self._new_slots = (base + slots).flatten()
        self._last: tuple[Tensor, Tensor] | None = None
        self._is_done = False

    def done(self) -> ResumedKeyValues:
        """From now on the last block is asked again, for some of its tokens: nothing is new."""
        self._is_done = True
        return self

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return the kept keys and values of a block with the new ones at their places."""
        if self._is_done and self._last is not None:
            return self._last
        columns = self._states.keys.columns[2 * (layer - self._first) :]
        self._last = self._joined(columns[0], keys), self._joined(columns[1], values)
        return self._last

    def _joined(self, column: Tensor, new: Tensor) -> Tensor:
        rows, heads, _, width = new.shape
        kept = column.index_select(0, self._key_slots.flatten())
        kept.index_copy_(0, self._new_slots, _by_token(new))
        return kept.view(rows, -1, heads, width).transpose(1, 2)


class GrowingKeyValues:
    """Keys and values of rows that go on growing, each with room of its own in a pool of all blocks."""

    def __init__(
        self, pool: StatePool, layout: Layout, rows: Sequence[CutRow], firsts: Sequence[int]
    ) -> None:
        """A row's keys begin at its slot of `firsts`; those before its cut are there."""
        tokens = layout.tokens
        device = tokens.positions.device
        width = tokens.positions.shape[1]
        self._pool = pool
        self._taken = _slots([(i * width, row.after) for i, row in enumerate(rows)], device)
        self._goal = _slots(
            [(first + row.start, row.after) for first, row in zip(firsts, rows, strict=True)], device
        )
        keys = torch.arange(tokens.n_keys)
        begins = torch.tensor(firsts)[:, None]
        there = keys < torch.tensor([len(row.ids) for row in rows])[:, None]
        self._seen = torch.where(there, begins + keys, 0).to(device)
        self._last: tuple[Tensor, Tensor] | None = None
        self._is_done = False

    def done(self) -> GrowingKeyValues:
        """From now on the last block is asked again, for some of its tokens: nothing is new."""
        self._is_done = True
        return self

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Put the new keys and values of a block into the pool; return all that its tokens may look at."""
        if self._is_done and self._last is not None:
            return self._last
        columns = self._pool.columns[2 * layer :]
        self._last = self._joined(columns[0], keys), self._joined(columns[1], values)
        return self._last

    def _joined(self, column: Tensor, new: Tensor) -> Tensor:
        rows, heads, _, width = new.shape
        column.index_copy_(0, self._goal, _by_token(new).index_select(0, self._taken))
        seen = column.index_select(0, self._seen.flatten())
        return seen.view(rows, -1, heads, width).transpose(1, 2)


def _slots(runs: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    """Return the slots of runs, each given by its first slot and how many there are."""
    return torch.cat([torch.arange(first, first + count) for first, count in runs]).to(device)


def _by_token(parts: Tensor) -> Tensor:
    """From [rows, heads, tokens, width] to [rows * tokens, heads * width]."""
    return parts.transpose(1, 2).flatten(2).flatten(0, 1)
