"""The only file that registers hooks: read, write and gather inside a forward pass; every hook is gone when
its block ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

__all__ = ["captured", "gathered", "preserved", "rewritten"]

_HOOK_TABLES = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
)


class _ReachedError(Exception):
    """Ends a forward pass once the last wanted vector has been read."""


def _hidden(output: Any) -> Tensor:
    """Return a block's residual stream: newer transformers return it bare, older ones first in a tuple."""
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden


def _with_hidden(output: Any, hidden: Tensor) -> Any:
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


@contextmanager
def _removed_afterwards(handle: RemovableHandle) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def rewritten(block: nn.Module, positions: Tensor, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within, the block's output at `positions` [batch] is replaced by `change` of it, [batch, d_model]."""

    def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
        hidden = _hidden(output)
        places = (torch.arange(len(positions), device=hidden.device), positions.to(hidden.device))
        return _with_hidden(output, hidden.index_put(places, change(hidden[places])))

    with _removed_afterwards(block.register_forward_hook(hook)):
        yield


@contextmanager
def captured(
    blocks: Mapping[int, nn.Module], positions: Mapping[int, Tensor], *, stop: bool = True
) -> Iterator[dict[int, Tensor]]:
    """Within, a forward pass fills the yielded dictionary: per layer the vectors [batch, n, d_model] in
    float32.

    `blocks` and `positions` [batch, n] go by layer. With `stop` the pass ends silently after the last of
    these layers, for nothing above it is wanted; the context ends there too.
    """
    vectors: dict[int, Tensor] = {}

    def hook_for(layer: int) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            hidden = _hidden(output)
            where = positions[layer].to(hidden.device)
            rows = torch.arange(len(where), device=hidden.device)[:, None]
            vectors[layer] = hidden[rows, where].detach().float()
            if stop and len(vectors) == len(blocks):
                raise _ReachedError

        return hook

    with ExitStack() as stack:
        for layer, block in blocks.items():
            stack.enter_context(_removed_afterwards(block.register_forward_hook(hook_for(layer))))
        try:
            yield vectors
        except _ReachedError:
            return


@contextmanager
def gathered(head: nn.Module, positions: Tensor) -> Iterator[None]:
    """Within, the vocabulary projection sees only `positions` [batch, n] of each row, so the logits are
    [batch, n, vocabulary].

    Whatever the model does to logits after its head, such as a soft cap, still happens.
    """

    def hook(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden: Tensor = inputs[0]
        rows = torch.arange(len(positions), device=hidden.device)[:, None]
        return (hidden[rows, positions.to(hidden.device)], *inputs[1:])

    with _removed_afterwards(head.register_forward_pre_hook(hook)):
        yield


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Put every forward hook of the model and its parts back as it was, whatever happened within.

    The tables are refilled in place, for the handles that users hold point to them.
    """
    before = [
        (table, dict(table))
        for module in model.modules()
        for name in _HOOK_TABLES
        if (table := getattr(module, name, None)) is not None
    ]
    try:
        yield
    finally:
        for table, entries in before:
            table.clear()
            table.update(entries)
