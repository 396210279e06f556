"""A model that runs out of memory when it is told to, whoever runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

from das.models import TargetModel

__all__ = ["SAYINGS", "at_calls", "short_of_memory", "short_on_the_way_back", "too_large"]

LIMIT = 100
"""Tokens from which on the model runs out of memory; to learn how a block is called takes 64."""
SAYINGS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"),
    MemoryError(),
]
"""What devices and allocators say."""


@contextmanager
def short_of_memory(
    target: TargetModel, when: Callable[[Tensor], bool], error: Exception = SAYINGS[0]
) -> Iterator[list[int]]:
    """Within, a block fails on vectors for which `when` is true; yields the sizes that failed."""
    failed: list[int] = []

    def watched(inner: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(inner)
        def forward(*args: Any, **kwargs: Any) -> Any:
            hidden = args[0] if args else kwargs["hidden_states"]
            if when(hidden):
                failed.append(hidden.shape[0] * hidden.shape[1])
                raise error
            return inner(*args, **kwargs)

        return forward

    with _replaced(target.family.blocks(target.model), watched):
        yield failed


@contextmanager
def _replaced(
    modules: Iterable[nn.Module], made: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    """Within, modules have other forwards; a hook would not do, for pyvene takes hooks away."""
    changed = list(modules)
    for module in changed:
        module.forward = made(module.forward)
    try:
        yield
    finally:
        for module in changed:
            del module.forward


def too_large(hidden: Tensor) -> bool:
    return hidden.shape[0] * hidden.shape[1] > LIMIT


def at_calls(*calls: int) -> Callable[[Tensor], bool]:
    """True at these calls, counted over all blocks."""
    count = iter(range(10**9))
    return lambda hidden: next(count) in calls


@contextmanager
def short_on_the_way_back(target: TargetModel, *calls: int) -> Iterator[list[int]]:
    """Within, the gradient that comes out of the last block but one fails at these calls."""
    count, failed = iter(range(10**9)), list[int]()

    def fail(slope: Tensor) -> None:
        call = next(count)
        if call in calls:
            failed.append(call)
            raise torch.OutOfMemoryError("CUDA out of memory")

    def watched(inner: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(inner)
        def forward(*args: Any, **kwargs: Any) -> Any:
            output = inner(*args, **kwargs)
            hidden = output[0] if isinstance(output, tuple) else output
            if hidden.requires_grad:
                hidden.register_hook(fail)
            return output

        return forward

    with _replaced([target.family.blocks(target.model)[target.n_layers - 2]], watched):
        yield failed
