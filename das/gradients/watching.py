"""Watches what a running norm, attention or MLP computes and puts functions with other gradients in its
place. It knows what such modules look like from within, and no model."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from das.gradients.functions import (
    Attending,
    frozen_layer_norm,
    frozen_rms_norm,
    shared,
    tempered_attention,
    tempered_softmax,
)
from das.gradients.rules import BackwardRules
from ravel.common.errors import SuiteError

_ROOTS = {"sqrt", "rsqrt"}
_POWERS = {"pow", "__pow__"}
_PRODUCTS = {"matmul", "__matmul__", "bmm"}
_FACTORS = {"mul", "__mul__", "__rmul__", "multiply"}
_QUARTER, _HALF = 0.25, 0.5

Call = Callable[..., Any]


class Running(threading.local):
    """Which modules run just now in a thread, the innermost last; None for those that are left alone."""

    def __init__(self) -> None:
        self.modules: list[Watch | None] = []
        """A watch is for its module's own computations: those of modules within are others'."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A module that is watched."""

    path: str
    """Its path in the model."""
    module: nn.Module
    """The module."""
    rules: BackwardRules
    """What is done otherwise."""

    def refused(self, came: str) -> SuiteError:
        """Return the error for a module that is not understood."""
        return SuiteError(
            expected=f"a module whose way back can follow rules of its own at {self.path}",
            came=f"{type(self.module).__name__}, {came}",
            todo="use the gradient plain, or load the model with torch's own attention (sdpa or eager)",
        )


class Watch(TorchFunctionMode):
    """Sees each function of torch that a module calls by itself, during one call of the module."""

    def __init__(self, watched: Watched, running: Running) -> None:
        super().__init__()
        self.watched = watched
        """The module."""
        self._running = running

    def __torch_function__(
        self, func: Call, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Compute what the module asked for, perhaps with another gradient."""
        given = kwargs or {}
        if self._running.modules[-1] is not self:
            return func(*args, **given)
        return self.computed(func, getattr(func, "__name__", ""), args, given)

    @abstractmethod
    def computed(self, func: Call, name: str, args: Sequence[Any], given: dict[str, Any]) -> Any:
        """Return what `func`, called so, gives."""

    @abstractmethod
    def settle(self) -> None:
        """Raise SuiteError, with the module's path, unless the module was understood in this call."""


class NormWatch(Watch):
    """Takes the divisor of a norm out of the way back."""

    _roots = 0

    def computed(self, func: Call, name: str, args: Sequence[Any], given: dict[str, Any]) -> Any:
        """Freeze what a norm divides by."""
        if name in _ROOTS or (name in _POWERS and args[1:] in ((-0.5,), (0.5,))):
            self._roots += 1
            return func(*args, **given).detach()
        if name == "layer_norm":
            self._roots += 1
            return _layer_norm(func, *args, **given)
        if name == "rms_norm":
            self._roots += 1
            return _rms_norm(func, *args, **given)
        return func(*args, **given)

    def settle(self) -> None:
        """Raise SuiteError unless there was one root."""
        if self._roots != 1:
            raise self.watched.refused(f"which took {self._roots} roots where a norm takes one")


def _layer_norm(
    func: Call,
    inputs: Tensor,
    shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    return frozen_layer_norm(lambda x: func(x, shape, weight, bias, eps), inputs, weight, len(shape), eps)


def _rms_norm(
    func: Call,
    inputs: Tensor,
    shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    return frozen_rms_norm(lambda x: func(x, shape, weight, eps), inputs, weight, len(shape), eps)


class AttentionWatch(Watch):
    """Tempers the softmax of an attention and shares the gradients of its products out."""

    def __init__(self, watched: Watched, running: Running) -> None:
        super().__init__(watched, running)
        self._seen: list[str] = []

    def computed(self, func: Call, name: str, args: Sequence[Any], given: dict[str, Any]) -> Any:
        """Take products and softmaxes by the rules."""
        if name == "scaled_dot_product_attention":
            self._seen.append("attention")
            return self._attention(func, *args, **given)
        if name == "softmax":
            self._seen.append("softmax")
            return self._softmax(func, *args, **given)
        if name in _PRODUCTS and len(args) == 2 and min(each.dim() for each in args) > 2:
            self._seen.append("product")
            return func(*self._parts(*args), **given)
        if name == "baddbmm":
            self._seen.append("product")
            return self._added_product(func, *args, **given)
        if name in _FACTORS and _alike(args) and all(factor.requires_grad for factor in args):
            self._seen.append("gate")
        return func(*args, **given)

    def settle(self) -> None:
        """Raise SuiteError unless this was one attention, whole or in its three steps."""
        if self._seen not in (["attention"], ["product", "softmax", "product"]):
            came = ", ".join(self._seen) or "nothing of the kind"
            raise self.watched.refused(
                f"where one attention, or product, softmax, product were looked for and {came} ran"
            )

    def _attention(
        self,
        func: Call,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if self.watched.rules.shared_credit:
            query, key = shared(query, _QUARTER), shared(key, _QUARTER)
            value = shared(value, _HALF)

        def run(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            attended: Tensor = func(
                *(query, key, value, attn_mask, dropout_p, is_causal), scale=scale, enable_gqa=enable_gqa
            )
            return attended

        temperature = self.watched.rules.temperature
        if temperature is None:
            return run(query, key, value)
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        how = Attending(attn_mask, is_causal, scale, enable_gqa, temperature)
        return tempered_attention(run, query, key, value, how)

    def _softmax(self, func: Call, scores: Tensor, dim: int, **given: Any) -> Any:
        temperature = self.watched.rules.temperature
        if temperature is None:
            return func(scores, dim, **given)
        return tempered_softmax(lambda x: func(x, dim, **given), scores, dim, temperature)

    def _added_product(self, func: Call, added: Tensor, batch1: Tensor, batch2: Tensor, **given: Any) -> Any:
        """Return a product of queries and keys to which a bias is added, as ALiBi's."""
        return func(added, *self._parts(batch1, batch2), **given)

    def _parts(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """Of the first product both factors have a quarter; in the second the softmax's gradient stays whole,
        for queries and keys have their quarters already."""
        if not self.watched.rules.shared_credit:
            return left, right
        if "softmax" in self._seen:
            return left, shared(right, _HALF)
        return shared(left, _QUARTER), shared(right, _QUARTER)


class MlpWatch(Watch):
    """Shares the gradient of a gate's product out."""

    _products = 0

    def computed(self, func: Call, name: str, args: Sequence[Any], given: dict[str, Any]) -> Any:
        """Give each factor of a product half of the gradient."""
        if name in _FACTORS and _alike(args):
            self._products += 1
            return func(shared(args[0], _HALF), shared(args[1], _HALF), **given)
        return func(*args, **given)

    def settle(self) -> None:
        """Raise SuiteError for a gate without a product, or for more than one product."""
        gated = any("gate" in name for name, _ in self.watched.module.named_modules())
        if self._products > 1 or (gated and not self._products):
            raise self.watched.refused(
                f"in which {self._products} products of what flows were seen and "
                f"{'one gate' if gated else 'at most one'} was looked for"
            )


def _alike(factors: Sequence[Any]) -> bool:
    """Tell whether both factors of a product are of what flows through the model, of one shape."""
    flow = all(isinstance(each, Tensor) and not isinstance(each, nn.Parameter) for each in factors)
    return flow and len(factors) == 2 and factors[0].dim() > 1 and factors[0].shape == factors[1].shape
