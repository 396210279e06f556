"""Calls a model's own blocks one by one, on chosen tokens, with keys and values kept from before."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache

from das.engine.resuming.block_calls import BlockCall, CannotResumeError, named_arguments, understood_calls
from das.engine.resuming.half_attention import trained_attention
from das.engine.resuming.tokens import Tokens
from das.models.base import TargetModel
from das.replaced import Forward, Replaced

_PROBE = 64
"""Tokens of the first probe; it changes the time of the first call only."""
_FEWEST = 16
"""Fewest vectors that one matrix product is given."""


class KeyValues(Protocol):
    """Where the keys and values of one run go, and come from."""

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Take a block's new keys and values [rows, heads, tokens, width]; return all that its tokens may
        look at, [rows, heads, keys, width]."""


class _Kept(Cache):  # type: ignore[misc]
    """What the model's attention takes for its cache: it passes everything on to a `KeyValues`."""

    def __init__(self, memory: KeyValues) -> None:
        super().__init__(layers=[])
        self._memory = memory

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *a: Any, **k: Any) -> Any:
        """Return all keys and values of the block."""
        return self._memory.update(layer_idx, key_states, value_states)

    def get_seq_length(self, *a: Any, **k: Any) -> int:
        """Return 0: places are given, never counted."""
        return 0


class BlockRunner:
    """Runs rows through a model's own blocks, from any block to any other.

    How the model calls its blocks is found out once by watching it read a row: which arguments depend on
    places (rotary tables), which are masks and how far they reach. After that the blocks are called
    directly, with masks and places of our own, and the model's forward is left out. The embeddings and all
    that comes after the last block are still the model's own forward with the blocks passed by.
    """

    def __init__(self, target: TargetModel) -> None:
        self.blocks: list[nn.Module] = list(target.family.blocks(target.model))
        """The model's blocks."""
        self._replaced = Replaced(self.blocks)
        self._target = target
        self._tables: list[Tensor] = []
        self._calls: list[BlockCall] = []
        self._rest: tuple[None, ...] | None = None
        self._key_widths: list[tuple[int, int]] = []
        self._length = 0

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    def prepare(self, length: int) -> None:
        """Watch the model once on a row of at least `length` tokens. Raises CannotResumeError."""
        if length <= self._length:
            return
        wanted = max(_PROBE, -(-length // _PROBE) * _PROBE)
        # Beyond a turning point the tables of the places before it would be others.
        ends = [end for end in (self._target.max_tokens, *self._target.turning_points) if end is not None]
        wanted = max(length, min([wanted, *ends]))
        with torch.inference_mode(False), torch.no_grad():
            seen = self._watched(wanted)
            self._tables, self._calls = understood_calls(seen, wanted)
        self._length = wanted

    @property
    def key_widths(self) -> list[tuple[int, int]]:
        """Length of a token's keys and of its values, all heads together, per block; after `prepare`."""
        return self._key_widths

    def embedded(self, ids: Tensor, tokens: Tokens) -> Tensor:
        """Return what the first block reads for whole rows of ids [rows, tokens], at the tokens' places."""
        entering: list[Tensor] = []
        inner = self._replaced.own(0)

        def first(*args: Any, **kwargs: Any) -> Any:
            entering.append(next(iter(named_arguments(inner, args, kwargs).values())))
            raise _EnoughError

        with self._replaced.by({0: first}), suppress(_EnoughError):
            self._forward(ids, tokens.positions)
        return entering[0]

    def run(self, hidden: Tensor, blocks: range, tokens: Tokens, memory: KeyValues) -> Tensor:
        """Run vectors [rows, tokens, d_model] through blocks; return them after the last of these."""
        cache = _Kept(memory)
        placed: dict[int, Tensor] = {}
        with trained_attention(hidden):
            for index in blocks:
                hidden = self._one(index, hidden, tokens, cache, placed)
        return hidden

    def keys_only(self, hidden: Tensor, block: int, tokens: Tokens, memory: KeyValues) -> None:
        """Run a block until `memory` has met its keys and values."""
        with suppress(_EnoughError):
            self._one(block, hidden, tokens, _Kept(_Stopping(memory)), {})

    def _one(
        self, index: int, hidden: Tensor, tokens: Tokens, cache: _Kept, placed: dict[int, Tensor]
    ) -> Tensor:
        call = self._calls[index]

        def at_places(table: Any) -> Any:
            if isinstance(table, tuple):
                return tuple(at_places(part) for part in table)
            if table not in placed:
                rows = self._tables[table].index_select(0, tokens.positions.flatten())
                placed[table] = rows.view(*tokens.positions.shape, *rows.shape[1:])
            return placed[table]

        arguments = {
            **call.constants,
            **{name: at_places(table) for name, table in call.placed.items()},
            call.hidden: hidden,
            call.mask: tokens.mask(call.window, call.additive),
            call.cache: cache,
        }
        output = self.blocks[index](**arguments)
        result: Tensor = output[0] if isinstance(output, tuple) else output
        return result

    def logits(self, hidden: Tensor) -> Tensor:
        """Return float32 logits [n, vocabulary] of vectors [n, d_model] that come out of the last block."""
        few = _FEWEST - len(hidden)
        if few > 0:
            hidden = torch.cat([hidden, hidden[-1:].expand(few, -1)])

        returned = hidden[None] if self._rest is None else (hidden[None], *self._rest)

        def passed(*args: Any, **kwargs: Any) -> Any:
            return returned

        nowhere = torch.zeros(1, len(hidden), dtype=torch.long, device=hidden.device)
        with self._replaced.by(dict.fromkeys(range(self.n_blocks), passed)):
            logits: Tensor = self._forward(nowhere, nowhere).logits[0]
        return (logits[:-few] if few > 0 else logits).float()

    def _forward(self, ids: Tensor, places: Tensor) -> Any:
        # A mask of this shape every model takes as it is, so that it makes none; no block sees it.
        mask = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=ids.device)
        return self._target.model(input_ids=ids, attention_mask=mask, position_ids=places, use_cache=False)

    def _watched(self, length: int) -> list[dict[str, Any]]:
        """Return the arguments of every block when the model reads a row of `length` tokens."""
        seen: list[dict[str, Any]] = []

        def watching(inner: Forward) -> Forward:
            def forward(*args: Any, **kwargs: Any) -> Any:
                seen.append(named_arguments(inner, args, kwargs))
                output = inner(*args, **kwargs)
                # Newer transformers return the stream bare, older ones first in a tuple.
                self._rest = tuple(None for _ in output[1:]) if isinstance(output, tuple) else None
                return output

            return forward

        ids = torch.zeros(1, length, dtype=torch.long, device=self._target.device)
        cache = DynamicCache()
        with self._replaced.by({i: watching(self._replaced.own(i)) for i in range(self.n_blocks)}):
            self._target.model(input_ids=ids, past_key_values=cache, use_cache=True)
        self._key_widths = [
            (layer.keys.shape[1] * layer.keys.shape[3], layer.values.shape[1] * layer.values.shape[3])
            for layer in cache.layers
        ]
        if len(seen) != len(self.blocks):
            raise CannotResumeError(f"the model ran {len(seen)} of its {len(self.blocks)} blocks")
        return seen


class _EnoughError(Exception):
    """Ends a run of the model once what was wanted has been seen."""


class _Stopping:
    """A memory that takes a block's keys and values and ends the run there."""

    def __init__(self, memory: KeyValues) -> None:
        self._memory = memory

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        self._memory.update(layer, keys, values)
        raise _EnoughError
