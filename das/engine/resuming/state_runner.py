"""Runs rows of token ids on from what they left behind in a model; it knows no pairs and no featurizer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial

import torch
from torch import Tensor

from das.engine.base.cut_rows import Cut, CutRow
from das.engine.base.hooks import rewritten
from das.engine.base.lanes import ALONE, Lanes, side_by_side
from das.engine.base.pass_limit import PassLimit
from das.engine.completing.shared_beginnings import shared_cuts
from das.engine.kept.disk_cache import DiskCache
from das.engine.kept.spilled_states import SpilledStates
from das.engine.kept.state_pool import FIRST_SLOTS, CutStates, StateCache
from das.engine.resuming.block_calls import CannotResumeError
from das.engine.resuming.block_runner import BlockRunner
from das.engine.resuming.key_values import Begun, GrowingKeyValues, RecordedKeyValues, ResumedKeyValues
from das.engine.resuming.layout import Layout, Slots, lay_out, plan_passes
from das.engine.resuming.tokens import Tokens
from das.models.base import Place, TargetModel
from das.out_of_memory import memory_guard

_LOG = logging.getLogger(__name__)

_EXACT, _ROUGH = 1e-3, 0.1
"""Largest relative difference of logits in float32 and in half precision."""
_CALL_WEIGHTS = 1 << 26
"""A call of a block costs as much as so many weights' products for one token ..."""
_LEAST_CALL, _FILL_CALL = 64, 256
"""... but at least and at most those of so many tokens."""
_SHARERS = 4
"""With fewer rows behind it a beginning is not worth its calls."""


class StateRunner:
    """Runs whole rows once per cut, and then runs on from what they left behind.

    Kept are, per row and cut: keys and values of the tokens before the cut in the blocks above it, shared by
    all rows that begin alike; and the residual stream after the block of the cut, from there on. A row's
    results do not depend on the rows that run beside it nor on what was kept before (`Tokens` says where).
    """

    def __init__(
        self,
        target: TargetModel,
        cache: StateCache,
        limit: PassLimit,
        spill: DiskCache | None = None,
        lanes: Lanes = ALONE,
    ) -> None:
        """`limit` bounds a pass, `cache` what is in memory; the rest goes to `spill`, or is made again.
        Passes run in `lanes`."""
        self.runner = BlockRunner(target)
        """Calls the model's blocks."""
        self.lanes = lanes
        """Run passes that are independent of each other."""
        self._target = target
        self._cache = cache
        self._limit = limit
        self._spilled = None if spill is None else SpilledStates(spill)
        self._unreached: int | None = None
        self.block_weights = sum(p.numel() for p in self.runner.blocks[0].parameters())
        """Weights of a block."""
        self._call_tokens = max(_LEAST_CALL, min(_FILL_CALL, _CALL_WEIGHTS // max(1, self.block_weights)))

    def refusal(self, *, compared: bool = True) -> str | None:
        """Return why this model can't be run on from kept states, or None if it can: rows are run on and
        compared with the model's own forward, whatever its family, unless whoever asks does that."""
        devices = sorted({str(device) for device in self._target.block_devices})
        if len(devices) > 1:
            return f"its blocks are computed on several devices ({', '.join(devices)})"
        try:
            # To run out of memory says nothing about the model.
            with memory_guard("room for a few tokens at once", "lower --batch-tokens or --cache-memory"):
                self.runner.prepare(1)
                apart = self._apart() if compared else 0.0
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
        """Return whether rows of so many tokens can be run on, which is logged where they can't. What a block
        is given may look otherwise in a longer row than in the one that was watched first."""
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
        """Return by how much logits of rows run on and run whole differ, relative to the largest logit."""
        vocabulary, length = int(self._target.config.vocab_size), 12
        ids = [tuple((7 * i * i + 3 * i + 5 * row) % vocabulary for i in range(length)) for row in (1, 2)]
        rows = [CutRow(own, start, length - 3, length) for own, start in zip(ids, (2, 5), strict=True)]
        cut = Cut(self.runner.n_blocks // 2, None)
        with torch.inference_mode(False), torch.no_grad():
            self.fill(rows, cut)
            ours = self.runner.logits(self.asked(rows, cut, None))
            whole = self._target.model(input_ids=torch.tensor(ids, device=self._target.device))
            expected = whole.logits[:, length - 4 :].flatten(0, 1).float()
        self._cache.clear()
        return float((ours - expected).abs().max() / expected.abs().max().clamp_min(1e-12))

    def fill(self, rows: Sequence[CutRow], cut: Cut) -> None:
        """See to it that what these rows leave behind is there, until `settle`."""
        self.runner.prepare(max(len(row.ids) for row in rows))
        states = self._states(cut)
        missing = _missing(rows, states)
        if not missing:
            return
        try:
            with torch.inference_mode(False), torch.no_grad():
                if self._spilled is not None:
                    self._spilled.fetch(states, missing)
                    missing = _missing(missing, states)
                if missing:
                    self._run_new(states, missing, cut)
        except BaseException:
            # Slots that were given out and not filled must not be taken for states later.
            states.forget()
            raise

    def fits(self, rows: Sequence[CutRow], cut: Cut) -> bool:
        """Return whether what these rows leave behind fits in memory all together."""
        states = self._states(cut)
        missing = _missing(rows, states)
        before = sum(len(prefix) for prefix in {row.prefix for row in missing} - states.prefixes.keys())
        after = sum(row.after for row in missing)
        needed = before * states.keys.slot_bytes + after * states.streams.slot_bytes
        return states.bytes + needed <= self._cache.max_bytes

    def vectors(self, rows: Sequence[CutRow], cut: Cut) -> Tensor:
        """Return what stands after the block of the cut at each row's cut, [rows, d_model]."""
        states = self._states(cut)
        slots = torch.tensor([states.suffixes[row] for row in rows], device=self._target.device)
        return states.streams.columns[0].index_select(0, slots)

    def asked(self, rows: Sequence[CutRow], cut: Cut, changed: Tensor | None) -> Tensor:
        """Run rows on; return what comes out of the last block at every token asked for, row by row, [n,
        d_model]. `changed` [rows, width] takes the place of the vectors at the cut; gradients flow to it. The
        rows are one pass: all run together, and `fill` has been called for them."""
        states = self._states(cut)
        kept = [Slots(states.prefixes[row.prefix], states.suffixes[row]) for row in rows]
        layout = lay_out(rows, kept, self._target.device)
        hidden = _gathered(states.streams.columns[0], layout.stream_slots)
        if changed is not None:
            if cut.inside is not None:
                changed = self._left(states, rows, kept, cut.inside, cut, changed)
            hidden = with_first(hidden, changed)
        asked = self.run_on(hidden, layout, ResumedKeyValues(states, layout, cut.first), cut.layer)
        return asked.flatten(0, 1).index_select(0, layout.answers)

    def side_by_side(
        self,
        vectors: Tensor,
        batches: Sequence[list[int]],
        run: Callable[[list[int], Tensor], Tensor],
        cut: Cut,
    ) -> list[Tensor]:
        """Return `run(batch, vectors[batch])` of each pass over rows that are there."""
        return side_by_side(self.lanes_at(cut), vectors, batches, run)

    def lanes_at(self, cut: Cut) -> Lanes:
        """Return the lanes for passes from a cut on: those that hook a module run one after the other."""
        return self.lanes if cut.inside is None else ALONE

    def settle(self) -> None:
        """Come back within the bounds of memory; to be called after each pass."""
        states = self._cache.crowded()
        if states is None:
            self._cache.keep()
            return
        if self._spilled is not None:
            self._spilled.store(states)
        states.forget()

    def begun(
        self, rows: Sequence[tuple[int, ...]], most: Sequence[int], upto: int
    ) -> Iterator[tuple[list[int], Begun]]:
        """Run what many rows begin with, at most the first `most` tokens of each, once through the blocks
        before `upto`; yield which rows make a pass behind that, and how they are cut."""
        self.runner.prepare(max(map(len, rows)))
        order = sorted(range(len(rows)), key=rows.__getitem__)
        common = shared_cuts([rows[i] for i in order], _SHARERS)
        starts = {i: min(count, most[i]) for i, count in zip(order, common, strict=True)}
        cut_rows = [CutRow(row, starts[i], len(row), len(row)) for i, row in enumerate(rows)]
        beginnings = sorted({row.prefix for row in cut_rows if row.start})
        shared = self.passing(upto, sum(map(len, beginnings))) if beginnings else None
        if shared is not None:
            self.run_prefixes(beginnings, [(shared, range(upto))], shares=False)
        for batch in self.plan(cut_rows):
            yield batch, Begun([cut_rows[i] for i in batch], shared)

    def read(self, begun: Begun) -> None:
        """Run rows to their ends, for whoever looks on from within; nothing of them is kept."""
        layout, memory = self._laid_out(begun)
        hidden = self.embedded(begun, layout)
        self.runner.run(hidden, range(self.runner.n_blocks), layout.tokens, memory)

    def _states(self, cut: Cut) -> CutStates:
        kept = self._cache.get(cut.key)
        if kept is not None:
            return kept
        n_streams = 1 if cut.inside is None else 2
        return self._cache.put(cut.key, self._no_states(cut.key, slice(cut.first, None), n_streams=n_streams))

    def passing(self, upto: int, tokens: int) -> CutStates:
        """Return room for the keys and values of so many tokens in the blocks before `upto`, and for an empty
        row."""
        states = self._no_states((0, False), slice(upto), slots=1 + tokens)
        states.add_prefix((), 0)
        return states

    def _no_states(
        self, key: tuple[int, bool], blocks: slice, *, n_streams: int = 0, slots: int = FIRST_SLOTS
    ) -> CutStates:
        return CutStates(
            cut=key,
            keys=[part for pair in self.runner.key_widths[blocks] for part in pair],
            streams=[self._target.d_model] * n_streams,
            dtype=self._target.dtype,
            device=self._target.device,
            slots=slots,
        )

    def _left(
        self,
        states: CutStates,
        rows: Sequence[CutRow],
        kept: Sequence[Slots],
        place: Place,
        cut: Cut,
        changed: Tensor,
    ) -> Tensor:
        """Return what leaves the block of the cut, [rows, d_model], with a change made inside it."""
        # Inside a block, only the token of the cut itself can differ from before.
        ends = [row.start + 1 for row in rows]
        alone = [CutRow(row.ids[:end], row.start, end, end) for row, end in zip(rows, ends, strict=True)]
        layout = lay_out(alone, kept, self._target.device)
        entering = _gathered(states.streams.columns[1], layout.stream_slots)
        memory = ResumedKeyValues(states, layout, cut.first)
        with at_starts(place, changed):
            left = self.runner.run(entering, range(cut.layer, cut.layer + 1), layout.tokens, memory)
        return left[:, 0]

    def run_on(
        self, hidden: Tensor, layout: Layout, memory: ResumedKeyValues | GrowingKeyValues, layer: int
    ) -> Tensor:
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

    def _run_new(self, states: CutStates, rows: Sequence[CutRow], cut: Cut) -> None:
        """Run rows for the first time: what stands before their cuts once, and on top of it what comes after,
        up to the block of the cut."""
        if any(row.start == 0 for row in rows):
            states.add_prefix((), 0)
        prefixes = list(dict.fromkeys(row.prefix for row in rows if row.start))
        below = self.passing(cut.layer + 1, sum(map(len, prefixes)))
        known = [prefix for prefix in prefixes if prefix in states.prefixes]
        new = [prefix for prefix in prefixes if prefix not in states.prefixes]
        kept_below = (below, range(cut.layer + 1))
        kept_above = (states, range(cut.first, self.runner.n_blocks))
        for some, keeping in ((new, [kept_below, kept_above]), (known, [kept_below])):
            if some:
                self.run_prefixes(some, keeping)
        batches = [[rows[i] for i in batch] for batch in self.plan(rows)]
        streams = self.lanes.run([partial(self._run_suffixes, below, batch, cut) for batch in batches])
        for batch, left in zip(batches, streams, strict=True):
            _keep_streams(states, batch, left)

    def _run_suffixes(self, below: CutStates, rows: Sequence[CutRow], cut: Cut) -> list[Tensor]:
        """Run what comes after the cuts up to the block of the cut; return the stream after it, and for a cut
        inside the block also before it, [rows, tokens from the cut on, d_model]."""
        layout = lay_out(rows, [Slots(below.prefixes[row.prefix], 0) for row in rows], self._target.device)
        ids = self._ids([row.ids[row.start :] for row in rows], layout.tokens)
        memory = ResumedKeyValues(below, layout, 0)
        entering = self.runner.embedded(ids, layout.tokens)
        entering = self.runner.run(entering, range(cut.layer), layout.tokens, memory)
        left = self.runner.run(entering, range(cut.layer, cut.layer + 1), layout.tokens, memory)
        return [left] if cut.inside is None else [left, entering]

    def run_prefixes(
        self,
        prefixes: Sequence[tuple[int, ...]],
        keeping: Sequence[tuple[CutStates, range]],
        *,
        shares: bool = True,
    ) -> None:
        """Run beginnings of rows; keep their keys and values of some blocks in some states each. No block
        after the last of these runs."""
        upto = max(blocks.stop for _, blocks in keeping)
        most = [len(prefix) - 1 if shares else 0 for prefix in prefixes]
        passes = []
        for _, begun in self.begun(prefixes, most, upto):
            layout, recorded = self._laid_out(begun)
            # Where pools grow must be over before any pass writes into them.
            for states, blocks in keeping:
                recorded.keeps_in(states, blocks)
            passes.append(partial(self._run_begun, begun, layout, recorded, upto))
        self.lanes.run(passes)

    def _run_begun(self, begun: Begun, layout: Layout, recorded: RecordedKeyValues, upto: int) -> None:
        """Run rows through the blocks before `upto`; of the last of these only keys and values are wanted."""
        hidden = self.runner.run(self.embedded(begun, layout), range(upto - 1), layout.tokens, recorded)
        self.runner.keys_only(hidden, upto - 1, layout.tokens, recorded)

    def plan(self, rows: Sequence[CutRow], most_rows: int | None = None) -> list[list[int]]:
        """Return how rows are shared out among passes, by their numbers; at most `most_rows` to a pass."""
        lengths, starts = [row.after for row in rows], [row.start for row in rows]
        return plan_passes(
            lengths,
            starts,
            batch_tokens=self.lanes.share(sum(lengths) + sum(starts), self._limit.size),
            call_tokens=self._call_tokens,
            most_rows=most_rows,
        )

    def _ids(self, rows: Sequence[tuple[int, ...]], tokens: Tokens) -> Tensor:
        """Return ids [rows, tokens], padded by the row's last."""
        width = tokens.positions.shape[1]
        padded = [row + row[-1:] * (width - len(row)) for row in rows]
        return torch.tensor(padded, device=self._target.device)

    def _laid_out(self, begun: Begun) -> tuple[Layout, RecordedKeyValues]:
        """Return the layout of rows that go on behind what they begin with, and where keys and values go."""
        slots = [Slots(begun.slot(row), 0) for row in begun.rows]
        layout = lay_out(begun.rows, slots, self._target.device)
        return layout, RecordedKeyValues(layout, begun.rows, begun.shared)

    def embedded(self, begun: Begun, layout: Layout) -> Tensor:
        """Return what enters the first block."""
        ids = self._ids([row.ids[row.start :] for row in begun.rows], layout.tokens)
        return self.runner.embedded(ids, layout.tokens)


def _missing(rows: Sequence[CutRow], states: CutStates) -> list[CutRow]:
    """Return the rows that the states don't have, each once."""
    return [r for r in dict.fromkeys(rows) if r not in states.suffixes or r.prefix not in states.prefixes]


def at_starts(place: Place, changed: Tensor) -> AbstractContextManager[None]:
    """Return the context in which `changed` [rows, width] stands at a place, at each row's first token."""
    positions = torch.zeros(len(changed), dtype=torch.long, device=changed.device)
    return rewritten(place, positions, lambda vectors: changed.to(vectors.dtype))


def with_first(hidden: Tensor, changed: Tensor) -> Tensor:
    """Return vectors [rows, tokens, d_model] with `changed` [rows, d_model] as the first of each row."""
    return torch.cat([changed[:, None].to(hidden.dtype), hidden[:, 1:]], dim=1)


def _gathered(column: Tensor, slots: Tensor) -> Tensor:
    """Return the vectors at slots [rows, n], in memory of their own."""
    return column.index_select(0, slots.flatten()).view(*slots.shape, column.shape[1])


def _keep_streams(states: CutStates, rows: Sequence[CutRow], streams: Sequence[Tensor]) -> None:
    """Put streams [rows, tokens from the cut on, d_model] into the states of a cut."""
    width, device = streams[0].shape[1], streams[0].device
    taken, slots = [], []
    for i, row in enumerate(rows):
        if row not in states.suffixes:
            first = states.add_suffix(row, row.after)
            taken.append(torch.arange(row.after) + i * width)
            slots.append(torch.arange(first, first + row.after))
    if taken:
        where, places = torch.cat(slots).to(device), torch.cat(taken).to(device)
        for column, stream in zip(states.streams.columns, streams, strict=True):
            column.index_copy_(0, where, stream.flatten(0, 1).index_select(0, places))
