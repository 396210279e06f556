"""Turning a planted model's residual stream: the same function of tokens, in other coordinates."""

from __future__ import annotations

import torch
from torch import Tensor

from das.models.planted.training import PlantedModel


def random_rotation(width: int, seed: int) -> Tensor:
    """Return a uniformly random orthogonal matrix, [width, width] in float64."""
    gaussian = torch.randn(width, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    orthogonal, triangular = torch.linalg.qr(gaussian)
    # Without the signs, QR favours some rotations over others (Mezzadri 2007, Notices of the AMS 54).
    turned: Tensor = orthogonal * torch.sign(torch.diagonal(triangular))
    return turned


@torch.no_grad()
def rotate(model: PlantedModel, rotation: Tensor) -> None:
    """Turn every vector of the residual stream from x to x @ rotation, in place; logits stay as they were, up
    to rounding, for RMS norms of weight 1 commute with a rotation. Computed in float64."""
    assert all(bool((p == 1).all()) for name, p in model.named_parameters() if "norm" in name)
    stack = model.model
    _write_turned(stack.embed_tokens.weight, rotation, of_rows=True)
    for block in stack.layers:
        attention, mlp = block.self_attn, block.mlp
        for module in (attention.q_proj, attention.k_proj, attention.v_proj, mlp.gate_proj, mlp.up_proj):
            _write_turned(module.weight, rotation, of_rows=True)
        for weight in (attention.o_proj.weight, mlp.down_proj.weight):
            _write_turned(weight, rotation, of_rows=False)
        mlp.down_proj.bias.copy_((mlp.down_proj.bias.double() @ rotation).float())
    _write_turned(model.lm_head.weight, rotation, of_rows=True)


def _write_turned(weight: Tensor, rotation: Tensor, *, of_rows: bool) -> None:
    wide = weight.double()
    weight.copy_((wide @ rotation if of_rows else rotation.mT @ wide).float())
