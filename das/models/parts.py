"""Finds linear layers and norms by looking through modules; what they are for is not known here."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn


def linear_layers(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the names and modules of all linear layers in a module, itself included, in order. A linear layer
    is what has a weight matrix and no parts, and is no embedding."""
    for name, inner in module.named_modules():
        weight = getattr(inner, "weight", None)
        is_matrix = isinstance(weight, Tensor) and weight.ndim == 2
        if is_matrix and not isinstance(inner, nn.Embedding) and not list(inner.children()):
            yield name, inner


def norms(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the names and modules of all norms in a module: what has no parts and a class called so."""
    for name, inner in module.named_modules():
        if "norm" in type(inner).__name__.lower() and not list(inner.children()):
            yield name, inner
