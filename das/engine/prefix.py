"""Runs a model on from a place inside it: above a block, from a token on. It knows rows of token ids; no
pairs, no sites and no featurizer."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from das.engine.batch import pad_rows
from das.models.base import TargetModel

__all__ = ["Resumer", "RowState", "StateCache", "Suffixes", "join", "plan_suffixes"]


@dataclass(frozen=True, slots=True)
class RowState:
    """What a row of token ids leaves behind in a model, cut before a token `start` and after a block."""

    prefix: Tensor
    """Keys and values of the tokens before the cut, of all later blocks side by side, [start, features]."""
    suffix: Tensor
    """The residual stream after the block, from the cut on, [length - start, d_model]."""


@dataclass(frozen=True, slots=True)
class Suffixes:
    """Rows that run on together. Before the cut they are padded on the left, after it on the right, so that
    every distance between two tokens of a row is the true one."""

    prefix: Tensor
    """Keys and values before the cut, [rows, before, features]."""
    hidden: Tensor
    """The residual stream from the cut on, [rows, after, d_model]."""
    position_ids: Tensor
    """Place of each token of `hidden` in its row, [rows, after]; on padding that of the row's last token."""
    attention_mask: Tensor | None
    """1 where a token stands or padding on the right, 0 on the left, [rows, before + after]; None: all 1."""


class StateCache:
    """Keeps the most recently used tensors within a limit of bytes."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        """Upper bound of what is kept."""
        self.bytes = 0
        """What is kept now."""
        self._tensors: OrderedDict[Hashable, Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tensors)

    def get(self, key: Hashable) -> Tensor | None:
        """Return the tensor, or None if it is not kept."""
        tensor = self._tensors.get(key)
        if tensor is not None:
            self._tensors.move_to_end(key)
        return tensor

    def put(self, key: Hashable, tensor: Tensor) -> None:
        """Keep a tensor that owns its memory; the longest unused ones give way."""
        old = self._tensors.pop(key, None)
        self.bytes += _size(tensor) - (0 if old is None else _size(old))
        self._tensors[key] = tensor
        while self.bytes > self.max_bytes and self._tensors:
            _, dropped = self._tensors.popitem(last=False)
            self.bytes -= _size(dropped)


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


class _FrozenLayer(DynamicLayer):  # type: ignore[misc]
    """One block's keys and values before the cut: a forward pass reads them and never makes them grow."""

    def __init__(self, length: int, keys: Tensor | None = None, values: Tensor | None = None) -> None:
        """`length` counts padding; a block that is skipped has no tensors, [rows, heads, length, width]."""
        super().__init__()
        self.length = length
        self.keys = keys
        self.values = values
        self.is_initialized = True

    def get_seq_length(self, *args: Any) -> int:
        """Return how many tokens stand before the cut."""
        return self.length

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Return the kept keys and values with the new ones after them."""
        if self.keys is None or self.values is None:
            return key_states, value_states
        return torch.cat([self.keys, key_states], dim=-2), torch.cat([self.values, value_states], dim=-2)


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


class Resumer:
    """Runs whole rows once, and then runs on from what they left behind.

    The model's own forward does both, with its own masks and positions: for the second, the blocks below are
    passed by and a cache holds the earlier keys and values. That works for any model that takes
    `inputs_embeds`, `position_ids` and a `Cache`, and keeps nothing else from one token to the next.
    """

    def __init__(self, target: TargetModel) -> None:
        self._target = target
        self._blocks: list[nn.Module] = list(target.family.blocks(target.model))
        self._head: nn.Module = target.model.get_output_embeddings()
        self._shapes: dict[int, list[tuple[int, int]]] = {}
        self._rest: tuple[Any, ...] | None = None

    def states(self, rows: Sequence[tuple[int, ...]], starts: Sequence[int], layer: int) -> list[RowState]:
        """Run whole rows; return what each leaves behind, cut before its `start` and after block `layer`."""
        padded = pad_rows(rows, side="right", device=self._target.device)
        cache = DynamicCache()
        # What is made under inference mode could never enter a training step later.
        with torch.inference_mode(False), torch.no_grad():
            stream = self._stream(padded.ids, layer, cache)
            kept = self._side_by_side(cache, layer, stream)
            return [
                RowState(kept[i, :start].clone(), stream[i, start : len(row)].clone())
                for i, (row, start) in enumerate(zip(rows, starts, strict=True))
            ]

    def _stream(self, ids: Tensor, layer: int, cache: Cache) -> Tensor:
        """Run rows of one width into `cache`; return the stream after a block, [rows, width, d_model]."""
        found: list[Tensor] = []
        inner = self._blocks[layer].forward

        def noting(*args: Any, **kwargs: Any) -> Any:
            output = inner(*args, **kwargs)
            # Newer transformers return the stream bare, older ones first in a tuple.
            self._rest = output[1:] if isinstance(output, tuple) else None
            found.append(output[0] if isinstance(output, tuple) else output)
            return output

        nothing = torch.zeros(0, dtype=torch.long, device=ids.device)
        with _replaced(self._blocks[layer], noting), self._projected(nothing, nothing):
            self._target.model(input_ids=ids, past_key_values=cache, use_cache=True)
        return found[0]

    def _side_by_side(self, cache: Cache, layer: int, stream: Tensor) -> Tensor:
        """Return the keys and values of all blocks above `layer`, [rows, width, features]."""
        pieces = [piece for kept in cache.layers[layer + 1 :] for piece in (kept.keys, kept.values)]
        self._shapes[layer] = [(piece.shape[1], piece.shape[3]) for piece in pieces]
        if not pieces:
            return stream[:, :, :0]
        return torch.cat([piece.transpose(1, 2).flatten(2) for piece in pieces], dim=2)

    def logits(self, suffixes: Suffixes, layer: int, hidden: Tensor, rows: Tensor, places: Tensor) -> Tensor:
        """Run on above block `layer` from `hidden` [rows, after, d_model]: the suffixes' own, or changed.

        Returns float32 logits [n, vocabulary] at n tokens: those of `rows` [n] at `places` [n], counted from
        the cut. Gradients flow to `hidden`.
        """

        def skip(stream: Tensor, *args: Any, **kwargs: Any) -> Any:
            return self._returned(stream)

        def inject(stream: Tensor, *args: Any, **kwargs: Any) -> Any:
            return self._returned(hidden)

        with ExitStack() as stack:
            for block in self._blocks[:layer]:
                stack.enter_context(_replaced(block, skip))
            stack.enter_context(_replaced(self._blocks[layer], inject))
            stack.enter_context(self._projected(rows, places))
            output = self._target.model(
                # Only its shape and dtype matter, for no block sees it.
                inputs_embeds=hidden.detach(),
                attention_mask=suffixes.attention_mask,
                position_ids=suffixes.position_ids,
                past_key_values=Cache(layers=self._frozen(suffixes.prefix, layer)),
                use_cache=True,
            )
        logits: Tensor = output.logits[0]
        return logits.float()

    def _returned(self, stream: Tensor) -> Any:
        return stream if self._rest is None else (stream, *self._rest)

    @contextmanager
    def _projected(self, rows: Tensor, places: Tensor) -> Iterator[None]:
        """Within, the vocabulary projection sees these n tokens only, and logits are [1, n, vocabulary]."""
        inner = self._head.forward
        with _replaced(self._head, lambda hidden: inner(hidden[rows, places][None])):
            yield

    def _frozen(self, prefix: Tensor, layer: int) -> list[_FrozenLayer]:
        """Return a cache's layers: empty ones up to `layer`, above it the kept keys and values."""
        shapes, length = self._shapes[layer], prefix.shape[1]
        pieces = prefix.split([heads * width for heads, width in shapes], dim=2) if shapes else ()
        views = [piece.unflatten(2, s).transpose(1, 2) for piece, s in zip(pieces, shapes, strict=True)]
        kept = [_FrozenLayer(length, k, v) for k, v in zip(views[::2], views[1::2], strict=True)]
        return [*(_FrozenLayer(length) for _ in range(layer + 1)), *kept]


def join(states: Sequence[RowState]) -> Suffixes:
    """Put rows side by side, with as little padding as their lengths allow."""
    hidden = pad_sequence([state.suffix for state in states], batch_first=True)
    prefix = pad_sequence([state.prefix for state in states], batch_first=True, padding_side="left")
    starts = torch.tensor([len(state.prefix) for state in states], device=hidden.device)[:, None]
    last = torch.tensor([len(state.suffix) - 1 for state in states], device=hidden.device)[:, None]
    before, after = prefix.shape[1], hidden.shape[1]
    mask = None
    if any(len(state.prefix) != before for state in states):
        mask = (torch.arange(before + after, device=hidden.device) >= before - starts).long()
    positions = starts + torch.minimum(torch.arange(after, device=hidden.device), last)
    return Suffixes(prefix, hidden, positions, mask)


def plan_suffixes(
    lengths: Sequence[int], starts: Sequence[int], *, batch_tokens: int, call_tokens: int
) -> list[list[int]]:
    """Group row numbers by the `lengths` of their suffixes, so that padding and calls together cost least.

    A forward pass costs as much as `call_tokens` tokens before it has done anything. `starts` are the lengths
    before the cut: mixing them costs next to nothing, yet they count among the `batch_tokens` that a batch
    holds at most (but at least one row).
    """
    order = sorted(range(len(lengths)), key=lambda row: (lengths[row], starts[row]))
    return [
        batch
        for first, end in _cheapest_cuts([lengths[row] for row in order], call_tokens)
        for batch in _bounded(order[first:end], lengths, starts, batch_tokens)
    ]


def _cheapest_cuts(ascending: Sequence[int], call_tokens: int) -> list[tuple[int, int]]:
    """Cut ascending lengths into ranges (first, end) whose padded tokens and calls cost least together."""
    last = len(ascending) - 1
    ends = [i + 1 for i, length in enumerate(ascending) if i == last or ascending[i + 1] != length]
    best: dict[int, tuple[int, int]] = {0: (0, 0)}
    for end in ends:
        longest = ascending[end - 1]
        best[end] = min((best[i][0] + (end - i) * longest + call_tokens, i) for i in best)
    cuts: list[tuple[int, int]] = []
    end = len(ascending)
    while end:
        first = best[end][1]
        cuts.append((first, end))
        end = first
    return cuts[::-1]


def _bounded(
    rows: list[int], lengths: Sequence[int], starts: Sequence[int], batch_tokens: int
) -> Iterator[list[int]]:
    width = max(lengths[row] for row in rows) + max(starts[row] for row in rows)
    most = max(1, batch_tokens // width)
    for first in range(0, len(rows), most):
        yield rows[first : first + most]
