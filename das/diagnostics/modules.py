"""Weights of linear layers as diagnostics read them, and the layer by which an MLP writes to the stream."""

from __future__ import annotations

from torch import Tensor, nn

from das.methods.common.base import NotApplicableError
from das.models.base import TargetModel
from das.models.parts import linear_layers


def weight_of(linear: nn.Module) -> Tensor:
    """Return a linear layer's weight as [n_out, n_in]; GPT-2 and its kin keep it the other way round."""
    weight = linear.weight
    assert isinstance(weight, Tensor), f"{type(linear).__name__} is no linear layer"
    turned = not isinstance(linear, nn.Linear) and hasattr(linear, "nf") and weight.shape[1] == linear.nf
    return (weight.mT if turned else weight).detach()


def mlp_output(target: TargetModel, layer: int) -> nn.Module:
    """Return the last linear layer of a block's MLP, which maps hidden units [..., n_units] to the stream.
    Raises NotApplicableError for a mixture of experts and an MLP without a linear layer."""
    block = target.family.blocks(target.model)[layer]
    mlp = target.family.mlp(block)
    check_plain(mlp, f"the MLP of block {layer} of {target.name}")
    candidates = [linear for _, linear in linear_layers(mlp) if weight_of(linear).shape[0] == target.d_model]
    if not candidates:
        raise NotApplicableError(
            expected=f"a linear layer in the MLP of block {layer} of {target.name} that writes the stream",
            came=f"none in {type(mlp).__name__}",
            todo="leave the diagnostics that look at hidden units out for this model",
        )
    return candidates[-1]


def check_plain(module: nn.Module, what: str) -> None:
    """Raise NotApplicableError if a module keeps several matrices in one parameter, as experts do, or has a
    list of like parts."""
    stacked = any(parameter.ndim > 2 for parameter in module.parameters())
    if stacked or any(isinstance(inner, nn.ModuleList) for inner in module.modules()):
        raise NotApplicableError(
            expected=f"one dense layer after the other in {what}",
            came="a mixture of experts",
            todo="leave the diagnostics that look at linear layers out for this model",
        )
