"""Functions whose values are torch's to the bit and whose gradients follow other rules; no model is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Run = Callable[..., Tensor]
"""What computes the value, given the tensors that have a gradient."""


def shared(tensor: Tensor, part: float) -> Tensor:
    """Return the tensor itself, to which only `part` of its gradient goes back."""
    scaled: Tensor = _Shared.apply(tensor, part)
    return scaled


def tempered_softmax(run: Run, scores: Tensor, dim: int, temperature: float) -> Tensor:
    """Return `run(scores)`, a softmax over `dim`, with the gradient p (g - <p, g>) in the scores, where p is
    softmax(scores / temperature) and g what comes back; it is not divided by the temperature (arXiv
    2505.17630, temperature-adjusted softmax gradients). Where all scores of a softmax are -inf it is 0."""
    softened: Tensor = _TemperedSoftmax.apply(scores, run, dim, temperature)
    return softened


@dataclass(frozen=True, slots=True)
class Attending:
    """How queries look at keys, besides what they are."""

    mask: Tensor | None
    """What is added to the scores, or True where a key is seen; None: nothing."""
    causal: bool
    """True: query i sees the first i + 1 keys."""
    scale: float
    """Factor of the scores."""
    grouped: bool
    """True: several heads of queries share one of keys and values."""
    temperature: float
    """As in `tempered_softmax`."""

    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        """Return the masked scores, [..., queries, keys], for as many heads of keys as of queries."""
        scores = (query * self.scale) @ key.transpose(-2, -1)
        if self.causal:
            seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
            scores = scores.masked_fill(~seen, -torch.inf)
        if self.mask is None:
            return scores
        if self.mask.dtype == torch.bool:
            return scores.masked_fill(~self.mask, -torch.inf)
        return scores + self.mask


def tempered_attention(run: Run, query: Tensor, key: Tensor, value: Tensor, how: Attending) -> Tensor:
    """Return `run(query, key, value)`, scaled dot product attention [..., heads, queries, width], with the
    gradient of `tempered_softmax` in its scores. The scores are computed once more on the way back."""
    attended: Tensor = _TemperedAttention.apply(query, key, value, run, how)
    return attended


def frozen_layer_norm(run: Run, inputs: Tensor, weight: Tensor | None, n_dims: int, eps: float) -> Tensor:
    """Return `run(inputs)`, a layer norm over the last `n_dims` axes, with the gradient (g' - mean g') / s
    in the inputs, where g' is what comes back times the weight: the deviation s is a constant. The weight
    gets none."""
    normed: Tensor = _FrozenNorm.apply(inputs, run, weight, tuple(range(-n_dims, 0)), eps, True)
    return normed


def frozen_rms_norm(
    run: Run, inputs: Tensor, weight: Tensor | None, n_dims: int, eps: float | None
) -> Tensor:
    """Return `run(inputs)`, a root mean square norm over the last `n_dims` axes, with the gradient g' / s
    in the inputs, as in `frozen_layer_norm`."""
    epsilon = torch.finfo(inputs.dtype).eps if eps is None else eps
    normed: Tensor = _FrozenNorm.apply(inputs, run, weight, tuple(range(-n_dims, 0)), epsilon, False)
    return normed


def _value(ctx: Any, run: Run, *tensors: Tensor) -> Tensor:
    """Compute as autograd would have: which kernel torch takes may depend on who needs a gradient."""
    leaves = [
        tensor.detach().requires_grad_(needed)
        for tensor, needed in zip(tensors, ctx.needs_input_grad, strict=False)
    ]
    with torch.enable_grad():
        return run(*leaves).detach()


def _wide(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _through_softmax(scores: Tensor, gradient: Tensor, dim: int, temperature: float) -> Tensor:
    softened = (scores / temperature).softmax(dim).nan_to_num(0.0)
    weighted = softened * gradient
    return weighted - softened * weighted.sum(dim, keepdim=True)


class _Shared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, part: float) -> Tensor:
        ctx.part = part
        return tensor.view_as(tensor)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return gradients[0] * ctx.part, None


class _TemperedSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, run: Run, dim: int, temperature: float) -> Tensor:
        ctx.save_for_backward(scores)
        ctx.how = dim, temperature
        return _value(ctx, run, scores)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (scores,) = ctx.saved_tensors
        slopes = _through_softmax(_wide(scores), _wide(gradients[0]), *ctx.how)
        return slopes.to(scores.dtype), None, None, None


class _TemperedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, run: Run, how: Attending) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.how = how
        return _value(ctx, run, query, key, value)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        how: Attending = ctx.how
        query, key, value = (_wide(tensor) for tensor in ctx.saved_tensors)
        gradient = _wide(gradients[0])
        group = query.shape[-3] // key.shape[-3] if how.grouped else 1
        keys, values = (each.repeat_interleave(group, -3) if group > 1 else each for each in (key, value))
        scores = how.scores(query, keys)
        of_values = scores.softmax(-1).nan_to_num(0.0).transpose(-2, -1) @ gradient
        of_scores = _through_softmax(scores, gradient @ values.transpose(-2, -1), -1, how.temperature)
        of_scores = of_scores * how.scale
        found = (of_scores @ keys, of_scores.transpose(-2, -1) @ query, of_values)
        shapes = zip(found, ctx.saved_tensors, (1, group, group), strict=True)
        return *(_gathered_heads(slope, goal, n) for slope, goal, n in shapes), None, None


def _gathered_heads(slopes: Tensor, goal: Tensor, group: int) -> Tensor:
    """Add up what goes to one head of keys or values from each of its group, or along axes of length 1."""
    if group > 1:
        slopes = slopes.unflatten(-3, (-1, group)).sum(-3)
    return slopes.sum_to_size(goal.shape).to(goal.dtype)


class _FrozenNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        run: Run,
        weight: Tensor | None,
        dims: tuple[int, ...],
        eps: float,
        centred: bool,
    ) -> Tensor:
        ctx.save_for_backward(inputs)
        ctx.how = weight, dims, eps, centred
        return _value(ctx, run, inputs)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (inputs,) = ctx.saved_tensors
        weight, dims, eps, centred = ctx.how
        wide, gradient = _wide(inputs), _wide(gradients[0])
        if weight is not None:
            gradient = gradient * weight
        if centred:
            wide = wide - wide.mean(dims, keepdim=True)
            gradient = gradient - gradient.mean(dims, keepdim=True)
        inverse = (wide.square().mean(dims, keepdim=True) + eps).rsqrt()
        return (gradient * inverse).to(inputs.dtype), None, None, None, None, None
