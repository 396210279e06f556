"""LoRA: a low-rank product beside a linear layer of the model; who trains it is not known here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from das.models.base import TargetModel
from das.models.parts import linear_layers
from ravel.common.errors import SuiteError


class LoraTerm(nn.Module):
    """`alpha / rank * B A x`, added to what a linear layer makes of x (Hu et al. 2021, arXiv 2106.09685).
    Arithmetic is in float32; what comes out has the dtype of what went in."""

    def __init__(self, down: Tensor, up: Tensor, scale: float) -> None:
        """Keep A `down` [rank, n_in], B `up` [n_out, rank] and the factor. Raises SuiteError for other
        shapes."""
        super().__init__()
        if down.ndim != 2 or up.ndim != 2 or down.shape[0] != up.shape[1]:
            raise SuiteError(
                expected="A of shape [rank, n_in] and B of shape [n_out, rank]",
                came=f"{list(down.shape)} and {list(up.shape)}",
                todo="give one of each with the same rank",
            )
        self.down = nn.Parameter(down.detach().float().contiguous().clone())
        """A."""
        self.up = nn.Parameter(up.detach().float().contiguous().clone())
        """B."""
        self.scale = scale
        """alpha / rank."""

    @classmethod
    def fresh(cls, n_in: int, n_out: int, rank: int, scale: float, generator: torch.Generator) -> LoraTerm:
        """Return one to be trained: A as torch draws linear layers, B zero, so that nothing is changed."""
        bound = n_in**-0.5
        down = (torch.rand(rank, n_in, generator=generator) * 2 - 1) * bound
        return cls(down, torch.zeros(n_out, rank), scale)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return what is added for inputs [..., n_in], [..., n_out]."""
        # Blocks of one model may lie on several devices.
        down, up = self.down.to(inputs.device), self.up.to(inputs.device)
        return (self.scale * (inputs.float() @ down.mT) @ up.mT).to(inputs.dtype)


def features_of(module: nn.Module) -> tuple[int, int]:
    """Return (n_in, n_out) of a linear layer; GPT-2 keeps its weights the other way round."""
    weight: Any = module.weight
    longer_first = not hasattr(module, "nf")
    n_out, n_in = weight.shape if longer_first else reversed(weight.shape)
    return int(n_in), int(n_out)


def projections(target: TargetModel, layers: Sequence[int], names: Sequence[str]) -> dict[str, nn.Module]:
    """Return the linear layers of some blocks by their paths in the model: those whose path ends in one of
    `names` or, without names, the attention's output projection. Raises SuiteError where a block has none."""
    blocks = target.family.blocks(target.model)
    paths = {id(module): path for path, module in target.model.named_modules()}
    found: dict[str, nn.Module] = {}
    for layer in layers:
        block = blocks[layer]
        chosen = [target.family.projection(block)] if not names else list(_named(block, names))
        for name in names:
            if not any(_ends_in(paths[id(module)], name) for module in chosen):
                raise _no_such_layer(name, block)
        found.update((paths[id(module)], module) for module in chosen)
    return found


def _named(block: nn.Module, names: Sequence[str]) -> Iterator[nn.Module]:
    for path, module in linear_layers(block):
        if any(_ends_in(path, name) for name in names):
            yield module


def _ends_in(path: str, name: str) -> bool:
    return path == name or path.endswith(f".{name}")


def _no_such_layer(name: str, block: nn.Module) -> SuiteError:
    known = sorted({path.rpartition(".")[2] for path, _ in linear_layers(block)})
    return SuiteError(
        expected=f"linear layers of a block: {', '.join(known)}", came=repr(name), todo="name one of them"
    )
