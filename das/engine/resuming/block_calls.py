"""How a model calls its blocks, read off the arguments of one pass that was watched; no model is run here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache


class CannotResumeError(Exception):
    """A model whose blocks can't be called one by one; its text says why."""


@dataclass(frozen=True, slots=True)
class BlockCall:
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


def named_arguments(
    forward: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Return the arguments of a call by name, those that go into `**kwargs` among them."""
    signature = inspect.signature(forward)
    bound = signature.bind(*args, **kwargs)
    named: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            named.update(value)
        else:
            named[name] = value
    return named


def understood_calls(seen: list[dict[str, Any]], length: int) -> tuple[list[Tensor], list[BlockCall]]:
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
        window, additive = _reach(arguments["attention_mask"], length)
        others = {
            name: value
            for name, value in arguments.items()
            if name not in (hidden, cache[0], "attention_mask")
        }
        with_tensors = {name: value for name, value in others.items() if _holds_tensors(value)}
        calls.append(
            BlockCall(
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


def _reach(mask: Any, length: int) -> tuple[int | None, torch.dtype | None]:
    """Return how far back a mask lets tokens see (None: to the first), and its dtype where it is added."""
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
