"""Finds the blocks of an unknown model and their parts by looking through its modules; it proves nothing,
which is what `das.engine.selftest` is for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from das.models.base import ModelFamily, layers_at, part
from ravel.common.errors import SuiteError

__all__ = ["infer_family"]

_ATTENTIONS = ("attn", "attention")
"""Found in the name or the class of an attention, in small letters."""
_NO_ATTENTIONS = ("norm", "ln_", "dropout")
"""Found in the name or the class of what stands beside an attention."""
_PROJECTIONS = ("o_proj", "out_proj", "c_proj", "dense", "wo", "out_lin")
"""Names of an attention's output projection, the surest first."""
_MLPS = ("mlp", "feed_forward", "feedforward", "ffn", "ff", "moe", "block_sparse_moe")
"""Names of an MLP. Where there is none, `fc2` in the block is the last layer of an MLP that is no module."""


def infer_family(model: Any) -> ModelFamily | None:
    """Return where a causal language model seems to keep its blocks and their parts, or None.

    Blocks are the longest list of modules of one class of which each has an attention, with an output
    projection in it, and an MLP. `model` may lie on the device `meta`: no weight is read.
    """
    if not _has_the_basics(model):
        return None
    found = [
        (path, layers, parts)
        for path, layers in model.named_modules()
        if isinstance(layers, nn.ModuleList) and (parts := _common_parts(layers)) is not None
    ]
    if not found:
        return None
    path, _, (attention, mlp, projection) = max(found, key=lambda entry: len(entry[1]))
    name = f"generic:{model.config.model_type}"
    return ModelFamily(
        name=name,
        model_types=(model.config.model_type,),
        blocks=layers_at(path),
        attention=part(attention),
        mlp=part(mlp),
        projection=part(projection),
        miniature=lambda: _no_miniature(name),
        inferred=True,
    )


def _has_the_basics(model: Any) -> bool:
    config = model.config
    sizes = (getattr(config, "hidden_size", None), getattr(config, "num_attention_heads", None))
    return (
        all(isinstance(size, int) for size in sizes)
        and not getattr(config, "is_encoder_decoder", False)
        and model.get_output_embeddings() is not None
    )


def _common_parts(layers: nn.ModuleList) -> tuple[str, str, str] | None:
    """Return the paths of attention, MLP and output projection if all layers have them at the same place."""
    if len({type(layer) for layer in layers}) != 1:
        return None
    parts = {_parts(layer) for layer in layers}
    return parts.pop() if len(parts) == 1 else None


def _parts(block: nn.Module) -> tuple[str, str, str] | None:
    attention = next(_attentions(block), None)
    mlp = _mlp(block)
    return None if attention is None or mlp is None else (attention[0], mlp, attention[1])


def _attentions(block: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield the paths of attentions with those of their output projections."""
    for name, child in block.named_children():
        words = f"{name} {type(child).__name__}".lower()
        known = any(word in words for word in _ATTENTIONS)
        if known and not any(word in words for word in _NO_ATTENTIONS):
            projection = _projection(child)
            if projection is not None:
                yield name, f"{name}.{projection}"


def _projection(attention: nn.Module) -> str | None:
    paths = [path for path, module in attention.named_modules() if hasattr(module, "weight")]
    return next((path for name in _PROJECTIONS for path in paths if path.rpartition(".")[2] == name), None)


def _mlp(block: nn.Module) -> str | None:
    children = dict(block.named_children())
    named = [name for name in _MLPS if name in children]
    classed = [name for name, child in children.items() if "mlp" in type(child).__name__.lower()]
    last_layers = [name for name in ("fc2",) if name in children]
    return next(iter(named + classed + last_layers), None)


def _no_miniature(name: str) -> Any:
    raise SuiteError(
        expected="a family of the registry, which has a miniature",
        came=f"{name}, found by looking through a model",
        todo="declare the family in one file (docs/how-to/add-a-model-family.md)",
    )
