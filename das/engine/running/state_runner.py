"""Runs rows of token ids on from what they left behind in a model. It knows rows, blocks and places; no
pairs, no labels' meaning and no featurizer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from das.engine.base.hooks import rewritten
from das.engine.kept.disk_cache import SpillFolder, key_of
from das.engine.kept.state_pool import Book, BookShelf
from das.engine.running.block_runner import BlockRunner, CannotResumeError, Tokens
from das.engine.running.layout import Layout, Row, Slots, lay_out, plan_passes
from das.engine.running.pass_limit import Room
from das.models.base import Place, TargetModel
from das.out_of_memory import memory_guard

__all__ = ["Cut", "Resumer"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a change is made: after a block, or inside it."""

    layer: int
    """Index of the block."""
    inside: Place | None
    """The part of the block that is changed; None: what the block returns."""

    @property
    def first(self) -> int:
        """The first block whose keys and values before the cut are needed."""
        return self.layer + 1 if self.inside is None else self.layer

    @property
    def book(self) -> tuple[int, bool]:
        """What is kept for this cut is kept for all with the same."""
        return self.layer, self.inside is None


class Resumer:
    """Runs whole rows once per cut, and then runs on from what they left behind.

    Kept are, per row and cut: keys and values of the tokens before the cut in the blocks above it, shared by
    all rows that begin alike; and the residual stream after the block of the cut, from there on. A row's
    results do not depend on the rows that run beside it nor on what was kept before (`Tokens` says where).
    """

    def __init__(
        self, target: TargetModel, shelf: BookShelf, room: Room, spill: SpillFolder | None = None
    ) -> None:
        """`room` bounds a pass and `shelf` what is kept in memory; what does not fit there goes to `spill`,
        or is made again."""
        self.runner = BlockRunner(target)
        """Calls the model's blocks."""
        self._target = target
        self._shelf = shelf
        self._room = room
        self._spill = spill
        self._on_disk: set[str] = set()
        self._unreached: int | None = None

    def refusal(self) -> str | None:
        """Return why this model can't be run on from kept states, or None if it can.

        Rows are run on and compared with the model's own forward: a model whose blocks are not called as they
        seem to be is found out here, whatever its family.
        """
        devices = sorted({str(device) for device in self._target.block_devices})
        if len(devices) > 1:
            return f"its blocks are computed on several devices ({', '.join(devices)})"
        try:
            # To run out of memory says nothing about the model.
            with memory_guard("room for a few tokens at once", "lower --batch-tokens or --cache-memory"):
                self.runner.prepare(1)
                apart = self._apart()
        except CannotResumeError as error:
            return str(error)
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError) as error:
            # A model of a stranger may fail in any way when its blocks are called alone.
            return f"calling its blocks alone fails: {' '.join(str(error).split())[:200]}"
        bound = _EXACT if self._target.dtype == torch.float32 else _ROUGH
        if apart <= bound:
            return None
        return f"its logits come out {apart:.2g} apart from its own (relative; allowed: {bound:g})"

    def reaches(self, length: int) -> bool:
        """Return whether rows of so many tokens can be run on, which is logged where they can't.

        What a block is given may look otherwise in a longer row than in the one that was watched first.
        """
        if self._unreached is None or length < self._unreached:
            try:
                self.runner.prepare(length)
            except CannotResumeError as error:
                self._unreached = length
                _LOG.warning(
                    "rows of %d tokens and more of %s are run by the engine direct: %s",
                    *(length, self._target.name, error),
                )
        return self._unreached is None or length < self._unreached

    def _apart(self) -> float:
        """Return the largest difference of logits between rows run on and rows run whole, relative to the
        largest logit."""
        vocabulary, length = int(self._target.config.vocab_size), 12
        ids = [tuple((7 * i * i + 3 * i + 5 * row) % vocabulary for i in range(length)) for row in (1, 2)]
        rows = [Row(own, start, length - 3, length) for own, start in zip(ids, (2, 5), strict=True)]
        cut = Cut(self.runner.n_blocks // 2, None)
        with torch.inference_mode(False), torch.no_grad():
            self.fill(rows, cut)
            found = self.runner.logits(self.asked(rows, cut, None))
            whole = self._target.model(input_ids=torch.tensor(ids, device=self._target.device))
            expected = whole.logits[:, length - 4 :].flatten(0, 1).float()
        self._shelf.clear()
        return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-12))

    def fill(self, rows: Sequence[Row], cut: Cut) -> None:
        """See to it that what these rows leave behind is there, until `settle`."""
        self.runner.prepare(max(len(row.ids) for row in rows))
        book = self._book(cut)
        missing = [row for row in dict.fromkeys(rows) if not _is_there(row, book)]
        if not missing:
            return
        try:
            with torch.inference_mode(False), torch.no_grad():
                if self._spill is not None:
                    self._fetch(book, missing, cut, self._spill)
                    missing = [row for row in missing if not _is_there(row, book)]
                if missing:
                    self._run_new(book, missing, cut)
        except BaseException:
            # Slots that were given out and not filled must not be taken for states later.
            book.forget()
            raise

    def fits(self, rows: Sequence[Row], cut: Cut) -> bool:
        """Return whether what these rows leave behind fits in memory all together."""
        book = self._book(cut)
        missing = [row for row in dict.fromkeys(rows) if not _is_there(row, book)]
        before = sum(len(prefix) for prefix in {row.prefix for row in missing} - book.prefixes.keys())
        after = sum(row.after for row in missing)
        needed = before * book.keys.slot_bytes + after * book.streams.slot_bytes
        return book.bytes + needed <= self._shelf.max_bytes

    def vectors(self, rows: Sequence[Row], cut: Cut) -> Tensor:
        """Return what stands after the block of the cut at each row's cut, [rows, d_model]."""
        book = self._book(cut)
        slots = torch.tensor([book.suffixes[row] for row in rows], device=self._target.device)
        return book.streams.columns[0].index_select(0, slots)

    def asked(self, rows: Sequence[Row], cut: Cut, changed: Tensor | None) -> Tensor:
        """Run rows on; return what comes out of the last block at every token asked for, row by row, [n,
        d_model].

        `changed` [rows, width] takes the place of the vectors at the cut; gradients flow to it. The rows are
        one pass: all run together, and `fill` has been called for them.
        """
        book = self._book(cut)
        kept = [Slots(book.prefixes[row.prefix], book.suffixes[row]) for row in rows]
        layout = lay_out(rows, kept, self._target.device)
        hidden = _gathered(book.streams.columns[0], layout.stream_slots)
        if changed is not None:
            if cut.inside is not None:
                changed = self._left(book, rows, kept, cut.inside, cut, changed)
            hidden = torch.cat([changed[:, None].to(hidden.dtype), hidden[:, 1:]], dim=1)
        asked = self._run_on(hidden, layout, _Resumed(book, layout, cut.first), cut.layer)
        return asked.flatten(0, 1).index_select(0, layout.answers)

    def settle(self) -> None:
        """Come back within the bounds of memory; to be called after each pass."""
        book = self._shelf.crowded()
        if book is None:
            self._shelf.keep()
            return
        if self._spill is not None and self._spill.writes:
            self._store(book, self._spill)
        book.forget()

    def drop(self) -> None:
        """Forget what came since the last `settle`."""
        self._shelf.drop()

    def read(self, rows: Sequence[tuple[int, ...]]) -> None:
        """Run plain rows from their beginning, for whoever looks on from within."""
        self.runner.prepare(max(map(len, rows)))
        whole = [Row(row, 0, len(row), len(row)) for row in rows]
        ids, tokens = self._whole(whole)
        width = tokens.positions.shape[1]
        hidden = self.runner.embedded(ids, tokens)
        self.runner.run(hidden, range(self.runner.n_blocks), tokens, _Padding(tokens.n_keys - width))

    def _book(self, cut: Cut) -> Book:
        found = self._shelf.get(cut.book)
        if found is not None:
            return found
        width = self._target.d_model
        book = Book(
            cut=cut.book,
            keys=[part for pair in self.runner.key_widths[cut.first :] for part in pair],
            streams=[width] if cut.inside is None else [width, width],
            dtype=self._target.dtype,
            device=self._target.device,
        )
        return self._shelf.put(cut.book, book)

    def _left(
        self, book: Book, rows: Sequence[Row], kept: Sequence[Slots], place: Place, cut: Cut, changed: Tensor
    ) -> Tensor:
        """Return what leaves the block of the cut, [rows, d_model], with a change made inside it."""
        # Inside a block, only the token of the cut itself can differ from before.
        ends = [row.start + 1 for row in rows]
        alone = [Row(row.ids[:end], row.start, end, end) for row, end in zip(rows, ends, strict=True)]
        layout = lay_out(alone, kept, self._target.device)
        entering = _gathered(book.streams.columns[1], layout.stream_slots)
        positions = torch.zeros(len(rows), dtype=torch.long, device=entering.device)
        memory = _Resumed(book, layout, cut.first)
        with rewritten(place, positions, lambda vectors: changed.to(vectors.dtype)):
            left = self.runner.run(entering, range(cut.layer, cut.layer + 1), layout.tokens, memory)
        return left[:, 0]

    def _run_on(self, hidden: Tensor, layout: Layout, memory: _Resumed, layer: int) -> Tensor:
        """Run from after block `layer` to the last; return the vectors at the tokens asked for."""
        last = self.runner.n_blocks - 1
        rows = torch.arange(len(hidden), device=hidden.device)[:, None]
        if layer == last:
            return hidden[rows, layout.asked]
        hidden = self.runner.run(hidden, range(layer + 1, last), layout.tokens, memory)
        # Above the last block only the tokens asked for matter; of the others only what these look at. That
        # is done even where it saves nothing: gradients would add up in another order.
        self.runner.keys_only(hidden, last, layout.tokens, memory)
        chosen = layout.tokens.chosen(layout.asked)
        return self.runner.run(hidden[rows, layout.asked], range(last, last + 1), chosen, memory.done())

    def _run_new(self, book: Book, rows: Sequence[Row], cut: Cut) -> None:
        """Run rows for the first time: what stands before their cuts once, and on top of it what comes after,
        up to the block of the cut."""
        below = Book(
            cut=cut.book,
            keys=[part for pair in self.runner.key_widths[: cut.layer + 1] for part in pair],
            streams=[],
            dtype=self._target.dtype,
            device=self._target.device,
        )
        if any(row.start == 0 for row in rows):
            for at in (below, book):
                at.add_prefix((), 0)
        prefixes = list(dict.fromkeys(row.prefix for row in rows if row.start))
        known = [prefix for prefix in prefixes if prefix in book.prefixes]
        new = [prefix for prefix in prefixes if prefix not in book.prefixes]
        for some, upto in ((new, self.runner.n_blocks), (known, cut.layer + 1)):
            for batch in self._plan([len(prefix) for prefix in some], [0] * len(some)):
                self._run_prefixes(book, below, [some[i] for i in batch], cut, upto)
        for batch in self._plan([row.after for row in rows], [row.start for row in rows]):
            self._run_suffixes(book, below, [rows[i] for i in batch], cut)

    def _run_suffixes(self, book: Book, below: Book, rows: Sequence[Row], cut: Cut) -> None:
        """Run what comes after the cuts up to the block of the cut, and keep the stream."""
        layout = lay_out(rows, [Slots(below.prefixes[row.prefix], 0) for row in rows], self._target.device)
        ids = self._ids([row.ids[row.start :] for row in rows], layout.tokens)
        memory = _Resumed(below, layout, 0)
        entering = self.runner.embedded(ids, layout.tokens)
        entering = self.runner.run(entering, range(cut.layer), layout.tokens, memory)
        left = self.runner.run(entering, range(cut.layer, cut.layer + 1), layout.tokens, memory)
        _keep_streams(book, rows, [left] if cut.inside is None else [left, entering])

    def _run_prefixes(
        self, book: Book, below: Book, prefixes: Sequence[tuple[int, ...]], cut: Cut, upto: int
    ) -> None:
        """Run beginnings of rows through the blocks before `upto`, and keep their keys and values."""
        ids, tokens = self._whole([Row(prefix, 0, 1, len(prefix)) for prefix in prefixes])
        harvest = _Harvest(tokens, prefixes)
        harvest.keeps_in(below, range(cut.layer + 1))
        if upto == self.runner.n_blocks:
            harvest.keeps_in(book, range(cut.first, upto))
        last = range(cut.first, upto)[-1:]
        hidden = self.runner.embedded(ids, tokens)
        hidden = self.runner.run(hidden, range(upto - len(last)), tokens, harvest)
        # Of the last block only the keys and values are wanted.
        for block in last:
            self.runner.keys_only(hidden, block, tokens, harvest)

    def _plan(self, lengths: Sequence[int], starts: Sequence[int]) -> list[list[int]]:
        return plan_passes(lengths, starts, batch_tokens=self._room.size, call_tokens=_FILL_CALL)

    def _ids(self, rows: Sequence[tuple[int, ...]], tokens: Tokens) -> Tensor:
        """Return ids [rows, tokens], padded by the row's last."""
        width = tokens.positions.shape[1]
        padded = [row + row[-1:] * (width - len(row)) for row in rows]
        return torch.tensor(padded, device=self._target.device)

    def _whole(self, rows: Sequence[Row]) -> tuple[Tensor, Tokens]:
        """Return ids [rows, tokens] and the places of rows without a cut."""
        tokens = lay_out(rows, [Slots(0, 0)] * len(rows), self._target.device).tokens
        return self._ids([row.ids for row in rows], tokens), tokens

    def _fetch(self, book: Book, rows: Sequence[Row], cut: Cut, spill: SpillFolder) -> None:
        """Bring back from the disk what is there."""
        prefixes = {_prefix_key(row.prefix, cut.book): row for row in rows}
        suffixes = {_suffix_key(row, cut.book): row for row in rows}
        found = spill.get([*prefixes, *suffixes])
        self._on_disk.update(found)
        for key, state in found.items():
            if key in suffixes and suffixes[key] not in book.suffixes:
                book.streams.fill(book.add_suffix(suffixes[key], len(state)), state)
            elif key in prefixes and prefixes[key].prefix not in book.prefixes:
                book.keys.fill(book.add_prefix(prefixes[key].prefix, len(state)), state)

    def _store(self, book: Book, spill: SpillFolder) -> None:
        """Put on the disk what came last and is not there yet."""
        prefixes, suffixes = book.added()
        states = {
            _prefix_key(tokens, book.cut): book.keys.run(book.prefixes[tokens], len(tokens))
            for tokens in prefixes
        } | {_suffix_key(row, book.cut): book.streams.run(book.suffixes[row], row.after) for row in suffixes}
        new = {key: state for key, state in states.items() if key not in self._on_disk}
        if new and spill.put(new):
            self._on_disk.update(new)


def _is_there(row: Row, book: Book) -> bool:
    return row in book.suffixes and row.prefix in book.prefixes


def _prefix_key(tokens: tuple[int, ...], cut: tuple[int, bool]) -> str:
    return key_of(cut[0], f"keys {cut[1]}", tokens, len(tokens))


def _suffix_key(row: Row, cut: tuple[int, bool]) -> str:
    return key_of(cut[0], f"stream {cut[1]} {row.fork} {row.second}", row.ids, row.start)


_EXACT, _ROUGH = 1e-3, 0.1
"""Largest relative difference of logits in float32 and in half precision."""
_FILL_CALL = 256
"""Tokens whose run costs as much as the calls of a run through the whole model."""


def _gathered(column: Tensor, slots: Tensor) -> Tensor:
    """Return the vectors at slots [rows, n], in memory of their own."""
    return column.index_select(0, slots.flatten()).view(*slots.shape, column.shape[1])


def _keep_streams(book: Book, rows: Sequence[Row], streams: Sequence[Tensor]) -> None:
    """Put streams [rows, tokens from the cut on, d_model] into the book."""
    width, device = streams[0].shape[1], streams[0].device
    taken, slots = [], []
    for i, row in enumerate(rows):
        if row not in book.suffixes:
            first = book.add_suffix(row, row.after)
            taken.append(torch.arange(row.after) + i * width)
            slots.append(torch.arange(first, first + row.after))
    if taken:
        where, places = torch.cat(slots).to(device), torch.cat(taken).to(device)
        for column, stream in zip(book.streams.columns, streams, strict=True):
            column.index_copy_(0, where, stream.flatten(0, 1).index_select(0, places))


class _Padding:
    """The memory of whole rows of which nothing is kept."""

    def __init__(self, count: int) -> None:
        self._count = count

    def met(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return functional.pad(keys, (0, 0, 0, self._count)), functional.pad(values, (0, 0, 0, self._count))


class _Harvest:
    """The memory of rows that begin: it keeps the keys and values of all their tokens in books."""

    def __init__(self, tokens: Tokens, rows: Sequence[tuple[int, ...]]) -> None:
        width = tokens.positions.shape[1]
        self._rows = rows
        self._padding = _Padding(tokens.n_keys - width)
        taken = [torch.arange(len(row)) + i * width for i, row in enumerate(rows)]
        self._taken = torch.cat(taken).to(tokens.positions.device)
        self._kept: list[tuple[Book, range, Tensor]] = []

    def keeps_in(self, book: Book, blocks: range) -> None:
        """Keep those of `blocks` in a book whose first columns are those of the first of them."""
        slots = [torch.arange(len(row)) + book.add_prefix(row, len(row)) for row in self._rows]
        self._kept.append((book, blocks, torch.cat(slots).to(self._taken.device)))

    def met(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        for book, blocks, slots in self._kept:
            if layer in blocks:
                columns = book.keys.columns[2 * (layer - blocks.start) :]
                for column, new in zip(columns, (keys, values), strict=False):
                    column.index_copy_(0, slots, _by_token(new).index_select(0, self._taken))
        return self._padding.met(layer, keys, values)


class _Resumed:
    """The memory of rows that run on: kept keys and values, and the new ones after them."""

    def __init__(self, book: Book, layout: Layout, first: int) -> None:
        self._book = book
        self._first = first
        self._key_slots = layout.key_slots
        slots = layout.tokens.slots
        base = torch.arange(len(slots), device=slots.device)[:, None] * layout.key_slots.shape[1]
        self._new_slots = (base + slots).flatten()
        self._last: tuple[Tensor, Tensor] | None = None
        self._is_done = False

    def done(self) -> _Resumed:
        """From now on the block that was met last is asked again, for some of its tokens: nothing is new."""
        self._is_done = True
        return self

    def met(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        if self._is_done and self._last is not None:
            return self._last
        columns = self._book.keys.columns[2 * (layer - self._first) :]
        self._last = self._joined(columns[0], keys), self._joined(columns[1], values)
        return self._last

    def _joined(self, column: Tensor, new: Tensor) -> Tensor:
        rows, heads, _, width = new.shape
        kept = column.index_select(0, self._key_slots.flatten())
        kept.index_copy_(0, self._new_slots, _by_token(new))
        return kept.view(rows, -1, heads, width).transpose(1, 2)


def _by_token(parts: Tensor) -> Tensor:
    """From [rows, heads, tokens, width] to [rows * tokens, heads * width]."""
    return parts.transpose(1, 2).flatten(2).flatten(0, 1)
