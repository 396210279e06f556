"""Attention of a pass in half precision on a CPU whose gradients are wanted; it knows no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_HALVES = (torch.bfloat16, torch.float16)


def trained_attention(hidden: Tensor) -> AbstractContextManager[object]:
    """Return a block in which torch's own attention multiplies in float32, if `hidden`, [rows, tokens,
    d_model], is of half precision on a CPU and its gradients are wanted; else a block that changes nothing.

    There the way back of attention in half precision takes many times as long as in float32 (torch 2.13).
    What comes out is rounded to the dtype it had.
    """
    slow = hidden.requires_grad and hidden.dtype in _HALVES and hidden.device.type == "cpu"
    return _FloatAttention() if slow and torch.is_grad_enabled() else nullcontext()


class _FloatAttention(TorchFunctionMode):
    """Turns what attention is given into float32, and its result back."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **named)
        query = args[0] if args else named["query"]
        result = func(*map(_in_float, args), **{name: _in_float(value) for name, value in named.items()})
        return result.to(query.dtype)


def _in_float(value: object) -> object:
    return value.float() if isinstance(value, Tensor) and value.dtype in _HALVES else value
