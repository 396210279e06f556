"""Calls a model's own blocks one by one, on chosen tokens, with keys and values kept from before. It knows
tokens and their places in a row; no prompts, no sites and no featurizer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache

from das.models.base import TargetModel

__all__ = ["BlockRunner", "CannotResumeError", "Memory", "Tokens", "whole_rows"]

_PROBE = 64
"""Tokens of the first probe; it changes the time of the first call only."""
_FEWEST = 16
"""Fewest vectors that one matrix product is given."""


class CannotResumeError(Exception):
    """A model whose blocks can't be called one by one; its text says why."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens that run together, and what each may look at.

    A row's keys stand side by side from the left, in the order of the row's tokens; what is beyond is
    padding that no token of the row looks at. All results of a row are then the same to the bit, whatever
    rows stand beside it, on a CPU whose matrix products treat each row of a large enough left side alike.
    """

    positions: Tensor
    """Place of each token in its text, [rows, tokens]."""
    slots: Tensor
    """Where each token's key stands among its row's keys, [rows, tokens]."""
    key_positions: Tensor
    """Place in the text of every key, [rows, keys]."""
    hidden_from: Tensor | None = None
    """First and end of the keys that a token must not see though they stand before it, [rows, tokens, 2];
    None: there are none. For a second label after the same prompt, which must not see the first."""
    masks: dict[tuple[int | None, bool], Tensor] = field(default_factory=dict)
    """Masks made so far, by window and form."""

    @property
    def n_keys(self) -> int:
        """Keys of a row, padding included."""
        return int(self.key_positions.shape[1])

    def visible(self, window: int | None) -> Tensor:
        """Return what each token sees, bool [rows, 1, tokens, keys], within a window of so many tokens."""
        keys = torch.arange(self.n_keys, device=self.slots.device)
        seen = keys <= self.slots[:, :, None]
        if self.hidden_from is not None:
            after = keys >= self.hidden_from[:, :, :1]
            seen &= ~(after & (keys < self.hidden_from[:, :, 1:]))
        if window is not None:
            seen &= self.key_positions[:, None, :] > self.positions[:, :, None] - window
        return seen[:, None]

    def mask(self, window: int | None, additive: torch.dtype | None) -> Tensor:
        """Return the attention mask of a block: booleans, or numbers of a dtype that are added."""
        key = (window, additive is None)
        if key not in self.masks:
            seen = self.visible(window)
            if additive is not None:
                numbers = torch.zeros(seen.shape, dtype=additive, device=seen.device)
                seen = numbers.masked_fill_(~seen, torch.finfo(additive).min)
            self.masks[key] = seen
        return self.masks[key]

    def chosen(self, picks: Tensor) -> Tokens:
        """Return some tokens of each row, `picks` [rows, n]; they still see all the keys they saw."""
        rows = torch.arange(len(picks), device=picks.device)[:, None]
        return Tokens(
            positions=self.positions[rows, picks],
            slots=self.slots[rows, picks],
            key_positions=self.key_positions,
            hidden_from=None if self.hidden_from is None else self.hidden_from[rows, picks],
        )


def whole_rows(rows: int, width: int, device: torch.device, *, keys: int | None = None) -> Tokens:
    """Return `rows` plain rows of `width` tokens from their beginning."""
    places = torch.arange(width, device=device).expand(rows, width)
    all_keys = torch.arange(width if keys is None else keys, device=device).expand(rows, -1)
    return Tokens(places, places, all_keys)


class Memory(Protocol):
    """Where the keys and values of one run go, and come from."""

    def met(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Take a block's new keys and values [rows, heads, tokens, width]; return all that its tokens may
        look at, [rows, heads, keys, width]."""
        ...


class _Kept(Cache):  # type: ignore[misc]
    """What the model's attention takes for its cache: it passes everything on to a `Memory`."""

    def __init__(self, memory: Memory) -> None:
        super().__init__(layers=[])
        self._memory = memory

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *a: Any, **k: Any) -> Any:
        """Return all keys and values of the block."""
        return self._memory.met(layer_idx, key_states, value_states)

    def get_seq_length(self, *a: Any, **k: Any) -> int:
        """Return 0: places are given, never counted."""
        return 0


@dataclass(frozen=True, slots=True)
class _Call:
    """How a model calls one of its blocks."""

    constants: dict[str, Any]
    """Arguments that depend on no token."""
    placed: dict[str, Any]
    """Arguments that depend on the tokens' places: indices of tables, one or a tuple of them."""
    hidden: str
    """Name of the argument for the vectors."""
    mask: str
    """Name of the argument for the attention mask."""
    cache: str
    """Name of the argument for the cache."""
    window: int | None
    """How many tokens back the block sees, itself included; None: all."""
    additive: torch.dtype | None
    """Dtype of a mask that is added; None: a mask of booleans."""


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
        self._target = target
        self._head: nn.Module = target.model.get_output_embeddings()
        self._tables: list[Tensor] = []
        self._calls: list[_Call] = []
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
            self._tables, self._calls = _understood(seen, wanted)
        self._length = wanted

    @property
    def key_widths(self) -> list[tuple[int, int]]:
        """Length of a token's keys and of its values, all heads together, per block; after `prepare`."""
        return self._key_widths

    def embedded(self, ids: Tensor, tokens: Tokens) -> Tensor:
        """Return what the first block reads for whole rows of ids [rows, tokens], at the tokens' places."""
        found: list[Tensor] = []
        inner = self.blocks[0].forward

        def first(*args: Any, **kwargs: Any) -> Any:
            found.append(next(iter(_named(inner, args, kwargs).values())))
            raise _EnoughError

        with _replaced(self.blocks[0], first), suppress(_EnoughError):
            self._target.model(
                input_ids=ids,
                attention_mask=_no_mask(ids.device),
                position_ids=tokens.positions,
                use_cache=False,
            )
        return found[0]

    def run(self, hidden: Tensor, blocks: range, tokens: Tokens, memory: Memory) -> Tensor:
        """Run vectors [rows, tokens, d_model] through blocks; return them after the last of these."""
        cache = _Kept(memory)
        placed: dict[int, Tensor] = {}
        for index in blocks:
            hidden = self._one(index, hidden, tokens, cache, placed)
        return hidden

    def keys_only(self, hidden: Tensor, block: int, tokens: Tokens, memory: Memory) -> None:
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
        with ExitStack() as stack:
            for block in self.blocks:
                stack.enter_context(_replaced(block, passed))
            output = self._target.model(
                input_ids=nowhere,
                attention_mask=_no_mask(hidden.device),
                position_ids=nowhere,
                use_cache=False,
            )
        logits: Tensor = output.logits[0]
        return (logits[:-few] if few > 0 else logits).float()

    def _watched(self, length: int) -> list[dict[str, Any]]:
        """Return the arguments of every block when the model reads a row of `length` tokens."""
        seen: list[dict[str, Any]] = []

        def watching(block: nn.Module) -> Callable[..., Any]:
            inner = block.forward

            def forward(*args: Any, **kwargs: Any) -> Any:
                seen.append(_named(inner, args, kwargs))
                output = inner(*args, **kwargs)
                # Newer transformers return the stream bare, older ones first in a tuple.
                self._rest = tuple(None for _ in output[1:]) if isinstance(output, tuple) else None
                return output

            return forward

        ids = torch.zeros(1, length, dtype=torch.long, device=self._target.device)
        cache = DynamicCache()
        with ExitStack() as stack:
            for block in self.blocks:
                stack.enter_context(_replaced(block, watching(block)))
            self._target.model(input_ids=ids, past_key_values=cache, use_cache=True)
        self._key_widths = [
            (layer.keys.shape[1] * layer.keys.shape[3], layer.values.shape[1] * layer.values.shape[3])
            for layer in cache.layers
        ]
        if len(seen) != len(self.blocks):
            raise CannotResumeError(f"the model ran {len(seen)} of its {len(self.blocks)} blocks")
        return seen


def _no_mask(device: torch.device) -> Tensor:
    """Return a mask that every model takes as it is, so that it makes none; no block sees it."""
    return torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device)


class _EnoughError(Exception):
    """Ends a run of the model once what was wanted has been seen."""


class _Stopping:
    """A memory that takes a block's keys and values and ends the run there."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def met(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        self._memory.met(layer, keys, values)
        raise _EnoughError


@contextmanager
def _replaced(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Within, the module's forward is another; hooks on the module still run."""
    own = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own


def _named(forward: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call by name, those that go into `**kwargs` among them."""
    signature = inspect.signature(forward)
    bound = signature.bind(*args, **kwargs)
    found: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            found.update(value)
        else:
            found[name] = value
    return found


def _understood(seen: list[dict[str, Any]], length: int) -> tuple[list[Tensor], list[_Call]]:
    """Return the tables of what depends on places, and how each block is called."""
    tables: dict[int, tuple[int, Tensor]] = {}

    def table_of(name: str, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(table_of(name, part) for part in value)
        if not _goes_by_place(value, length):
            raise CannotResumeError(f"the argument {name} of a block is not understood")
        if id(value) not in tables:
            tables[id(value)] = (len(tables), value[0].clone())
        return tables[id(value)][0]

    calls = []
    for arguments in seen:
        hidden = next(iter(arguments))
        cache = [name for name, value in arguments.items() if isinstance(value, Cache)]
        if len(cache) != 1 or "attention_mask" not in arguments:
            raise CannotResumeError("a block takes no cache or no attention mask")
        window, additive = _reach(arguments["attention_mask"], length, arguments[hidden].dtype)
        others = {
            name: value
            for name, value in arguments.items()
            if name not in (hidden, cache[0], "attention_mask")
        }
        with_tensors = {name: value for name, value in others.items() if _holds_tensors(value)}
        calls.append(
            _Call(
                constants={name: value for name, value in others.items() if name not in with_tensors},
                placed={name: table_of(name, value) for name, value in with_tensors.items()},
                hidden=hidden,
                mask="attention_mask",
                cache=cache[0],
                window=window,
                additive=additive,
            )
        )
    return [table for _, table in tables.values()], calls


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, tuple) and any(map(_holds_tensors, value)))


def _goes_by_place(value: Any, length: int) -> bool:
    return isinstance(value, Tensor) and value.ndim >= 2 and value.shape[:2] == (1, length)


def _reach(mask: Any, length: int, dtype: torch.dtype) -> tuple[int | None, torch.dtype | None]:
    """Return how far back a mask of the model lets its tokens see (None: to the first), and its dtype where
    it is added."""
    if mask is None:
        return None, None
    if not isinstance(mask, Tensor) or mask.shape[-2:] != (length, length):
        raise CannotResumeError("the model's attention mask is not a square over the tokens")
    additive = None if mask.dtype == torch.bool else mask.dtype
    seen = (mask if additive is None else mask > torch.finfo(mask.dtype).min / 2)[0, 0]
    window = int(seen[-1].sum())
    places = torch.arange(length, device=mask.device)
    distance = places[:, None] - places[None, :]
    if not torch.equal(seen, (distance >= 0) & (distance < window)):
        raise CannotResumeError("what a token of the model sees does not go by its distance alone")
    return (None if window == length else window), additive
