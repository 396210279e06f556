"""Attention weights of a running model, and how they pass on from layer to layer; no gradient is taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from das.gradients.functions import Attending
from ravel.common.errors import SuiteError


class AttentionWeights(TorchFunctionMode):
    """Within, keeps the weights of every attention that runs in this thread, in the order in which they do.

    Whatever implementation a model asks for still runs: of torch's own attention the weights are computed
    once more beside it, of one in three steps its softmax is kept.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []
        """Mean over heads of the weights of each attention, [rows, queries, keys] in float32."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Compute what was asked for, and keep the weights."""
        given = kwargs or {}
        name = getattr(func, "__name__", "")
        found = func(*args, **given)
        if name == "scaled_dot_product_attention":
            self.weights.append(_weights(*args, **given).float().mean(dim=-3))
        elif name == "softmax" and _square(found):
            self.weights.append(found.detach().float().mean(dim=-3))
        return found


def _square(found: Any) -> bool:
    return isinstance(found, Tensor) and found.dim() == 4 and found.shape[-1] == found.shape[-2]


@torch.no_grad()
def _weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return the weights that torch's attention gives, [..., heads, queries, keys]."""
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    scores = Attending(attn_mask, is_causal, scale, enable_gqa, 1.0).scores(query, key)
    return scores.softmax(-1)


def rolled_out(weights: Sequence[Tensor]) -> Tensor:
    """Return how much of each token is in each token after the last layer, [..., n, n], if in every layer
    half of a token is its own and half comes by the weights [..., n, n] (attention rollout, Abnar and Zuidema
    2020, arXiv 2005.00928, equation 1)."""
    passed = torch.eye(weights[0].shape[-1], dtype=torch.float64)
    for layer in weights:
        own = torch.eye(layer.shape[-1], dtype=torch.float64)
        passed = (0.5 * layer.double().cpu() + 0.5 * own) @ passed
    return passed


def check_one_per_layer(weights: Sequence[Tensor], n_layers: int, model: str) -> None:
    """Raise SuiteError unless there was one attention in each layer."""
    if len(weights) != n_layers:
        raise SuiteError(
            expected=f"one attention in each of the {n_layers} layers of {model}, as sdpa or eager",
            came=f"{len(weights)} that could be read",
            todo="leave attention rollout out, or load the model with torch's own attention",
        )
