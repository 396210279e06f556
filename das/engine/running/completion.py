"""Continues rows of token ids greedily: what rows begin with in common is computed once, rows that are done
drop out. It knows no texts, no sites and no featurizers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicLayer

from das.engine.base.batch import pad_rows, plan_batches
from das.engine.base.hooks import gathered
from das.engine.running.next_tokens import GrowingRows, close_logits, grows_truly
from das.engine.running.pass_limit import Room
from das.models.base import TargetModel
from das.out_of_memory import ran_out_of_memory

__all__ = ["Completer", "Settled", "shared_cuts"]

Row = tuple[int, ...]

Settled = Callable[[int, Row], bool]
"""Called with a row's place and all of its new token ids so far; True ends the row there."""

# With fewer rows behind it, running a shared beginning on its own and copying what it leaves costs too much.
_SHARERS = 8
# On a CPU more tokens in a call are no faster, and fall out of its caches.
_CALL_TOKENS = 2048
# Tokens from which on a call takes no rows of another length: below it costs mostly what it costs empty.
_ENOUGH_TOKENS = 512
# New tokens for which there is room from the start.
_ROOM = 4
# The largest number of a block is found far faster than its place, so the place is sought in one block.
_BLOCK = 64
# Rows that run together wait for others once fewer than this share of them go on ...
_TOO_FEW = 0.25
# ... and leave the done ones behind below this one: copying costs less than running them.
_MOSTLY_LIVE = 0.6
# Lengths that differ by less run together; to pad more costs more than calls with fewer rows.
_ALIKE = 5
# So few rows run together whatever their lengths.
_FEW_ROWS = 128
# Between calls that much memory stays at hand.
_KEPT_BYTES = 1 << 28


class _Buffers:
    """Memory that is used again: fresh pages cost more than what is written to them."""

    def __init__(self) -> None:
        self._free: dict[torch.dtype, list[Tensor]] = {}

    def take(self, like: Tensor, *shape: int) -> Tensor:
        """Return room of that shape with any content, of the dtype and on the device of `like`."""
        size = math.prod(shape)
        free = self._free.setdefault(like.dtype, [])
        fitting = [buffer for buffer in free if buffer.numel() >= size]
        if fitting:
            buffer = min(fitting, key=Tensor.numel)
            free[:] = [other for other in free if other is not buffer]
        else:
            buffer = like.new_empty(_rounded(size))
        return buffer[:size].view(shape)

    def give(self, room: Tensor) -> None:
        """Take room back; nobody may read or write it any more."""
        whole = room.new_empty(0).set_(room.untyped_storage())
        self._free.setdefault(room.dtype, []).append(whole)

    def trim(self, most: int) -> None:
        """Let go of everything, if it is more than `most` bytes."""
        free = [buffer for of_dtype in self._free.values() for buffer in of_dtype]
        if sum(buffer.numel() * buffer.element_size() for buffer in free) > most:
            self._free.clear()


def _rounded(size: int) -> int:
    """Round up by less than a quarter, so that later requests of about that size fit."""
    step = 1 << max(0, (size - 1).bit_length())
    return -(-size // step) * step


class _GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """One block's keys and values with room for more tokens, so that growing copies nothing.

    A token's heads lie side by side in memory, [rows, room, heads, width]: rows and tokens are copied whole.
    """

    def __init__(self, room: int, buffers: _Buffers) -> None:
        super().__init__()
        self._buffers = buffers
        self.room = room
        self.length = 0
        self.is_initialized = True

    def get_seq_length(self, *args: Any) -> int:
        """Return how many tokens are kept, padding included."""
        return self.length

    def start(self, rows: int, keys: Tensor, values: Tensor) -> None:
        """Make room for that many rows with heads and widths as in `keys`, `values` [.., heads, width]."""
        self.keys = self._buffers.take(keys, rows, self.room, *keys.shape[-2:])
        self.values = self._buffers.take(values, rows, self.room, *values.shape[-2:])

    def release(self) -> None:
        """Give the memory back; nothing of it may be read any more."""
        if self.keys is not None and self.values is not None:
            self._buffers.give(self.keys)
            self._buffers.give(self.values)
        self.keys = self.values = None  # type: ignore[assignment]

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Keep the new keys and values; return all, [rows, heads, tokens, width]."""
        keys, values = key_states.transpose(1, 2), value_states.transpose(1, 2)
        end = self.length + keys.shape[1]
        if self.keys is None or self.values is None:
            self.room = max(self.room, end)
            self.start(len(keys), keys, values)
        elif end > self.room:
            self._grow(end)
        self.keys[:, self.length : end] = keys
        self.values[:, self.length : end] = values
        self.length = end
        return self.keys[:, :end].transpose(1, 2), self.values[:, :end].transpose(1, 2)

    def _grow(self, end: int) -> None:
        old = (self.keys, self.values)
        self.room = max(end, self.room + self.room // 2)
        self.start(len(old[0]), *old)
        for new, kept in zip((self.keys, self.values), old, strict=True):
            new[:, : self.length] = kept[:, : self.length]
            self._buffers.give(kept)


@dataclass(slots=True)
class _Running:
    """Rows that run side by side. They end in one column, so padding stands before them and every distance
    between two tokens of a row is the true one."""

    rows: list[int]
    """Their places among all rows."""
    layers: list[_GrowingLayer]
    """Keys and values of each block."""
    pads: Tensor
    """How many columns of padding stand before each row, [rows]."""
    tokens: Tensor
    """What is run next, [rows, tokens]."""
    live: list[int] = field(default_factory=list)
    """Which of `rows` are not done."""

    @property
    def length(self) -> int:
        """Number of columns that are kept, padding included."""
        return self.layers[0].length

    def release(self) -> None:
        """Give all memory back."""
        for layer in self.layers:
            layer.release()


def shared_cuts(rows: Sequence[Row], sharers: int) -> list[int]:
    """Return for each of the *sorted* rows how many of its first tokens at least `sharers` rows, itself
    included, have in common: as many as possible, but never the whole row."""
    if sharers < 2 or len(rows) < sharers:
        return [0] * len(rows)
    lengths = np.array([len(row) for row in rows])
    table = np.full((len(rows), int(lengths.max())), -1, dtype=np.int64)
    table[np.arange(table.shape[1]) < lengths[:, None]] = np.concatenate([np.array(row) for row in rows])
    equal = (table[1:] == table[:-1]) & (table[1:] >= 0)
    common = np.cumprod(equal, axis=1).sum(axis=1)
    # A window of neighbours shares what each two next to each other share; a row takes its best window.
    windows = np.lib.stride_tricks.sliding_window_view(common, sharers - 1).min(axis=1)
    around = np.pad(windows, sharers - 1)
    best = np.lib.stride_tricks.sliding_window_view(around, sharers).max(axis=1)
    cuts: list[int] = np.minimum(best, lengths - 1).tolist()
    return cuts


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
        self.target = target
        self.batch_tokens = batch_tokens
        """Tokens that are kept at a time, at most (but at least one row)."""
        self.sharers = sharers
        """Least number of rows behind a beginning that runs on its own."""
        self._buffers = _Buffers()
        self._narrows = True
        self._shares: bool | None = None
        self._grows: bool | None = None

    @property
    def call_tokens(self) -> int:
        """Tokens in one call at most, where a row is not longer."""
        on_cpu = self.target.device.type == "cpu"
        return min(self.batch_tokens, _CALL_TOKENS) if on_cpu else self.batch_tokens

    @property
    def held_tokens(self) -> int:
        """Tokens that wait at most until rows of many batches run on together."""
        return self.batch_tokens // 2

    @property
    def shares(self) -> bool:
        """Whether beginnings are shared and done rows dropped; False: rows of one length run whole."""
        if self._shares is None:
            with torch.inference_mode():
                self._shares = self._agrees() or self._agrees(narrows=False)
        return self._shares

    @property
    def grows(self) -> bool:
        """Whether the model's own cache is true to whole rows; False: every new token reads its row anew."""
        if self._grows is None:
            self._grows = grows_truly(self.target)
        return self._grows

    @property
    def narrows(self) -> bool:
        """Whether the last block's later parts see each row's last token only."""
        return self.shares and self._narrows

    def complete(
        self,
        rows: Sequence[Row],
        max_new_tokens: int,
        settled: Settled | None = None,
        *,
        room: Room | None = None,
    ) -> list[Row]:
        """Return the new token ids of each row: up to the first end token, that included, to where `settled`
        says so, or `max_new_tokens` of them. No row may be empty.

        With `room`, which then bounds the tokens, rows that are not done when memory does not suffice are
        begun again in smaller batches. Raises SuiteError as `Room.attempt`.
        """
        if max_new_tokens < 1:
            return [() for _ in rows]
        found: dict[int, Row] = {}
        # Rows that are, or may grow, past a length beyond which the model reads them otherwise.
        turning = [side > 0 for side in self.target.sides(len(row) + max_new_tokens for row in rows)]
        for kind in sorted(set(turning)):
            left = [i for i in range(len(rows)) if turning[i] == kind]
            while left:
                if room is not None:
                    self.batch_tokens = room.size
                run = _Run(self, [rows[i] for i in left], max_new_tokens, _settled_among(left, settled))
                work = partial(self._run, run, turns=kind)
                if room is None:
                    work()
                elif not room.attempt(work):
                    self._buffers.trim(0)
                found.update((left[i], tuple(run.written[i])) for i in run.done)
                left = [i for i in left if i not in found]
        self._buffers.trim(_KEPT_BYTES)
        return [found[i] for i in range(len(rows))]

    def _run(self, run: _Run, *, turns: bool) -> None:
        with torch.inference_mode():
            if not turns and len(run.written) > 1 and self.shares:
                run.with_shared_beginnings()
            else:
                # With one new token there is nothing to go on from.
                run.whole_rows(cached=not turns and run.most > 1 and self.grows)

    def logits(self, running: _Running) -> Tensor:
        """Run the next tokens; return the logits after the last of them, [rows, vocabulary]."""
        model, count = self.target.model, running.tokens.shape[1]
        length = running.length
        columns = torch.arange(length + count, device=self.target.device)
        padded = bool(running.pads.any())
        last = torch.full((len(running.rows), 1), count - 1, device=self.target.device)
        with ExitStack() as stack:
            for module in self._narrowed() if count > 1 else ():
                stack.enter_context(gathered(module, last))
            output = model(
                input_ids=running.tokens,
                attention_mask=(columns >= running.pads[:, None]).long() if padded else None,
                position_ids=columns[length:] - running.pads[:, None],
                past_key_values=Cache(layers=running.layers),
                use_cache=True,
            )
        logits: Tensor = output.logits[:, -1]
        return logits

    def _narrowed(self) -> list[nn.Module]:
        head: nn.Module = self.target.model.get_output_embeddings()
        if not self._narrows:
            return [head]
        blocks = self.target.family.blocks(self.target.model)
        last = blocks[len(blocks) - 1]
        # What these return for one token is added to the streams of all; only the last token's is read.
        return [head, self.target.family.projection(last), self.target.family.mlp(last)]

    def layers(self, room: int) -> list[_GrowingLayer]:
        """Return an empty cache with that much room per row."""
        return [_GrowingLayer(room, self._buffers) for _ in range(self.target.n_layers)]

    def _agrees(self, *, narrows: bool = True) -> bool:
        """Say whether two made-up rows get the logits of whole rows: behind beginnings of different lengths,
        and one token on."""
        self._narrows = narrows
        size = int(self.target.config.vocab_size)
        made_up = [(7 * place + 5) % size for place in range(10)]
        rows = [tuple(made_up[:9]), (*made_up[:4], *made_up[6:9]), (*made_up[:9], made_up[9])]
        run = _Run(self, rows[:2], 1, None)
        try:
            running = run.behind([0, 1], 3, run.beginnings([rows[0][:6], rows[1][:4]]), [0, 1])
            first = self.logits(running)
            running.tokens = torch.full((2, 1), made_up[9], device=self.target.device)
            second = self.logits(running)
            whole = [self._whole(rows[0]), self._whole(rows[1]), self._whole(rows[2])]
            found = [first[0], first[1], second[0]]
        # A model that wants something else fails in ways of its own; the plain way is right for all.
        except Exception as error:  # noqa: BLE001, RUF100
            # To run out of memory says nothing about the model.
            if ran_out_of_memory(error):
                raise
            return False
        return all(map(close_logits, found, whole))

    def _whole(self, row: Row) -> Tensor:
        ids = torch.tensor([row], device=self.target.device)
        logits: Tensor = self.target.model(input_ids=ids, use_cache=False).logits[0, -1]
        return logits


class _Run:
    """One call of a `Completer`: its rows and what has been written after them."""

    def __init__(
        self, owner: Completer, rows: Sequence[Row], max_new_tokens: int, settled: Settled | None
    ) -> None:
        self._owner = owner
        self._rows = rows
        self.most = max_new_tokens
        self._settled = settled
        self._ends = owner.target.end_ids
        self._device = owner.target.device
        self.written: list[list[int]] = [[] for _ in rows]
        self.done: set[int] = set()

    def with_shared_beginnings(self) -> None:
        """Run all rows, first to their first new tokens, and in between those together that go on."""
        order = sorted(range(len(self._rows)), key=self._rows.__getitem__)
        found = shared_cuts([self._rows[row] for row in order], self._owner.sharers)
        cuts = dict(zip(order, found, strict=True))
        numbers: dict[Row, int] = {}
        for row in order:
            numbers.setdefault(self._rows[row][: cuts[row]], len(numbers))
        kept = self.beginnings(list(numbers))
        held: list[_Running] = []
        for batch in self._plan(cuts):
            suffix = len(self._rows[batch[0]]) - cuts[batch[0]]
            running = self.behind(
                batch, suffix, kept, [numbers[self._rows[row][: cuts[row]]] for row in batch]
            )
            self._step(running)
            held += self._kept([running])
            while sum(len(one.rows) * (one.length + _ROOM) for one in held) > self._owner.held_tokens:
                held = self._run_most(held)
        while held:
            held = self._run_most(held)

    def beginnings(self, beginnings: Sequence[Row]) -> list[tuple[Tensor, Tensor]]:
        """Return each block's keys and values of the beginnings, [beginnings, longest, heads, width] each."""
        longest = max(map(len, beginnings), default=0)
        if longest == 0:
            return []
        some = [beginning or (0,) for beginning in beginnings]
        most = max(1, self._owner.batch_tokens // longest)
        parts = [self._beginnings(some[first : first + most], longest) for first in range(0, len(some), most)]
        return [
            (torch.cat([part[i].keys for part in parts]), torch.cat([part[i].values for part in parts]))
            for i in range(len(parts[0]))
        ]

    def _beginnings(self, beginnings: Sequence[Row], longest: int) -> list[_GrowingLayer]:
        padded = pad_rows(beginnings, side="right", device=self._device)
        extra = longest - padded.ids.shape[1]
        ids = torch.nn.functional.pad(padded.ids, (0, extra))
        layers = self._owner.layers(longest)
        nowhere = torch.zeros(len(ids), 0, dtype=torch.long, device=self._device)
        # A causal model sees nothing of what stands on the right.
        with gathered(self._owner.target.model.get_output_embeddings(), nowhere):
            self._owner.target.model(input_ids=ids, past_key_values=Cache(layers=layers), use_cache=True)
        return layers

    def _plan(self, cuts: dict[int, int]) -> Iterator[list[int]]:
        """Yield batches of rows, those with most tokens of their own first.

        A row joins others with more tokens of their own if they are few: it then repeats the end of its
        beginning, so that nothing is padded between a beginning and what follows.
        """
        owner = self._owner
        own = {row: len(self._rows[row]) - cut for row, cut in cuts.items()}
        batch: list[int] = []
        shortest = longest = 0
        for row in sorted(cuts, key=lambda row: (-own[row], len(self._rows[row]))):
            suffix = own[batch[0]] if batch else own[row]
            width = max(longest, len(self._rows[row]) + self.most)
            joins = own[row] == suffix or (
                len(batch) * suffix < _ENOUGH_TOKENS and len(self._rows[row]) >= suffix
            )
            # Beginnings are padded to the longest: that costs less than a call, but not much less.
            joins = joins and (len(batch) * suffix < _ENOUGH_TOKENS or width <= shortest + _ALIKE)
            count = len(batch) + 1
            many = count * suffix > owner.call_tokens or count * width > owner.held_tokens
            if batch and (many or not joins):
                yield batch
                batch, width = [], len(self._rows[row]) + self.most
            shortest = width if not batch else shortest
            batch.append(row)
            longest = width
        if batch:
            yield batch

    def behind(
        self, batch: list[int], suffix: int, kept: list[tuple[Tensor, Tensor]], numbers: Sequence[int]
    ) -> _Running:
        """Return the last `suffix` tokens of rows of a batch, ready to run behind their beginnings."""
        starts = [len(self._rows[row]) - suffix for row in batch]
        before = max(starts)
        layers = self._owner.layers(before + suffix + min(self.most, _ROOM) - 1)
        if before:
            alike = [list(of) for _, of in groupby(range(len(batch)), key=lambda i: (numbers[i], starts[i]))]
            for layer, (keys, values) in zip(layers, kept, strict=True):
                layer.start(len(batch), keys, values)
                layer.length = before
                for places in alike:
                    rows = slice(places[0], places[-1] + 1)
                    number, start = numbers[places[0]], starts[places[0]]
                    _put(layer.keys[rows], before, keys[number, :start])
                    _put(layer.values[rows], before, values[number, :start])
        pads = torch.tensor([before - start for start in starts], device=self._device)
        tokens = torch.tensor([self._rows[row][-suffix:] for row in batch], device=self._device)
        return _Running(list(batch), layers, pads, tokens, list(range(len(batch))))

    def _step(self, running: _Running) -> None:
        """Run the next tokens, write the new ones down and see which rows go on."""
        chosen = _likeliest(self._owner.logits(running))
        running.tokens = chosen[:, None]
        tokens = chosen.tolist()
        running.live = [place for place in running.live if self._write(running.rows[place], tokens[place])]

    def _write(self, row: int, token: int) -> bool:
        """Write a row's new token down; return whether the row goes on."""
        ids = self.written[row]
        ids.append(token)
        goes_on = token not in self._ends and len(ids) < self.most
        if goes_on and (self._settled is None or not self._settled(row, tuple(ids))):
            return True
        self.done.add(row)
        return False

    def _run_most(self, held: list[_Running]) -> list[_Running]:
        """Run those rows together that are of about one length and most, or all if that is few; return all
        that still go on."""
        if sum(len(one.live) for one in held) <= _FEW_ROWS:
            return self._go_on(held, until=0)
        counts: dict[int, int] = {}
        for one in held:
            counts[one.length // _ALIKE] = counts.get(one.length // _ALIKE, 0) + len(one.live)
        most = max(counts, key=counts.__getitem__)
        chosen = [one for one in held if one.length // _ALIKE == most]
        others = [one for one in held if one.length // _ALIKE != most]
        return others + self._go_on(chosen, until=_TOO_FEW)

    def _go_on(self, held: list[_Running], *, until: float) -> list[_Running]:
        """Run rows together until that share of them is left; return these, still as one."""
        running = self._together(held)
        least = until * len(running.rows)
        while len(running.live) > least:
            if len(running.live) < _MOSTLY_LIVE * len(running.rows):
                running = self._together([running])
            self._step(running)
        return self._kept([running])

    def _kept(self, running: list[_Running]) -> list[_Running]:
        """Return those of which some rows go on, and give the memory of the others back."""
        for one in running:
            if not one.live:
                one.release()
        return [one for one in running if one.live]

    def _together(self, held: list[_Running]) -> _Running:
        """Return the rows that go on as one, without the others."""
        live = [torch.tensor(one.live, device=self._device) for one in held]
        length = max(one.length for one in held)
        layers = self._owner.layers(length + min(self.most, _ROOM))
        for index, layer in enumerate(layers):
            first = held[0].layers[index]
            layer.start(sum(map(len, live)), first.keys, first.values)
            layer.length = length
            start = 0
            for one, chosen in zip(held, live, strict=True):
                rows, old = slice(start, start + len(chosen)), one.layers[index]
                _put(layer.keys[rows], length, old.keys[:, : one.length].index_select(0, chosen))
                _put(layer.values[rows], length, old.values[:, : one.length].index_select(0, chosen))
                start = rows.stop
        for one in held:
            one.release()
        return _Running(
            rows=[one.rows[place] for one in held for place in one.live],
            layers=layers,
            pads=torch.cat([one.pads[c] + length - one.length for one, c in zip(held, live, strict=True)]),
            tokens=torch.cat([one.tokens[c] for one, c in zip(held, live, strict=True)]),
            live=list(range(sum(map(len, live)))),
        )

    def whole_rows(self, *, cached: bool) -> None:
        """Run rows of one length whole until all of a batch are done; `cached`: a new token runs alone."""
        lengths = [len(row) + self.most for row in self._rows]
        budget = self._owner.batch_tokens
        for batch in plan_batches(lengths, batch_tokens=budget, enough_tokens=0, exact=True):
            ids = torch.tensor([self._rows[row] for row in batch], device=self._device)
            growing = GrowingRows(self._owner.target, ids, cached=cached)
            live = set(batch)
            while True:
                chosen = growing.next().argmax(dim=-1)
                pairs = zip(batch, chosen.tolist(), strict=True)
                live = {row for row, token in pairs if row in live and self._write(row, token)}
                if not live:
                    break
                growing.grow(chosen)


def _settled_among(rows: Sequence[int], settled: Settled | None) -> Settled | None:
    """Return the rule for places among some rows."""
    if settled is None:
        return None
    return lambda place, token_ids: settled(rows[place], token_ids)


def _put(room: Tensor, end: int, kept: Tensor) -> None:
    """Put keys or values [.., tokens, heads, width] before column `end` of `room`, and zeros before them."""
    start = end - kept.shape[-3]
    room[:, :start] = 0
    room[:, start:end] = kept


def _likeliest(logits: Tensor) -> Tensor:
    """Return the place of each row's largest number, the first of equal ones, [rows]."""
    if logits.device.type != "cpu" or logits.shape[1] % _BLOCK:
        return logits.argmax(dim=1)
    blocks = logits.unflatten(1, (-1, _BLOCK))
    block = blocks.amax(dim=2).argmax(dim=1)
    inside = blocks[torch.arange(len(logits)), block].argmax(dim=1)
    found: Tensor = block * _BLOCK + inside
    return found
