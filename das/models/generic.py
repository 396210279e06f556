"""Finds the blocks of an unknown model and their parts by looking through its modules; it proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from das.models.base import ModelFamily, layers_at, part
from das.models.configs import number_in, text_config
from das.sites import Stream
from ravel.common.errors import SuiteError

_ATTENTIONS = ("attn", "attention")
"""Found in the name or the class of an attention, in small letters."""
_NO_ATTENTIONS = ("norm", "ln_", "dropout", "linear_attn")
"""Found in the name or the class of what stands beside an attention, or in its stead and has no heads that
mix values."""
_PROJECTIONS = ("o_proj", "out_proj", "c_proj", "dense", "wo", "out_lin")
"""Names of an attention's output projection, the surest first."""
_MLPS = ("mlp", "feed_forward", "feedforward", "ffn", "ff", "moe", "block_sparse_moe")
"""Names of an MLP. Where there is none, `fc2` in the block is the last layer of an MLP that is no module."""
_OTHER_SENSES = ("vision", "visual", "audio", "image", "speech")
"""Found in the path of layers that read no text."""


def infer_family(model: Any) -> ModelFamily | None:
    """Return where a causal language model seems to keep its blocks and their parts, or None.

    Blocks are the longest list of modules in the decoder that reads text. Streams whose part is not found at
    the same place in every block, such as attentions in a model of which some blocks are recurrent, are
    refused by the family, each with the reason. `model` may lie on the device `meta`: no weight is read.
    """
    path = _blocks(model) if _has_the_basics(model) else None
    if path is None:
        return None
    blocks, name = list(layers_at(path)(model)), f"generic:{model.config.model_type}"
    refused: dict[Stream, str] = {}
    attention = _common("attention", blocks, _attention, "attention_output", refused)
    mlp = _common("MLP", blocks, _mlp, "mlp_output", refused)
    kind = "output projection of an attention"
    projection = _common(kind, blocks, _projection_path, "head_output", refused)
    widths = _head_widths(model, blocks, projection, refused)
    return ModelFamily(
        name=name,
        model_types=(model.config.model_type,),
        blocks=layers_at(path),
        attention=attention,
        mlp=mlp,
        projection=projection,
        miniature=lambda: _no_miniature(name),
        n_heads=_n_heads,
        head_widths=widths,
        refused=refused,
        inferred=True,
    )


def _has_the_basics(model: Any) -> bool:
    return (
        number_in(text_config(model), "hidden_size") is not None
        and not getattr(model.config, "is_encoder_decoder", False)
        and model.get_output_embeddings() is not None
    )


def _n_heads(config: Any) -> int:
    """Return the number of heads of the attentions; 0 where there are none or not equally many."""
    return number_in(config, "num_attention_heads") or 0


def _blocks(model: Any) -> str | None:
    """Return the path of the decoder blocks: the longest outermost list of modules that read text."""
    lists = {
        path: layers
        for path, layers in model.named_modules()
        if isinstance(layers, nn.ModuleList) and len(layers) > 0
    }
    outermost = [path for path in lists if not any(path.startswith(f"{other}.") for other in lists)]
    said = number_in(text_config(model), "num_hidden_layers")

    def likelihood(path: str) -> tuple[bool, bool, int, int]:
        size = sum(weight.numel() for weight in lists[path].parameters())
        reads_text = not any(word in path.lower() for word in _OTHER_SENSES)
        return reads_text, len(lists[path]) == said, len(lists[path]), size

    return max(outermost, key=likelihood, default=None)


def _common(
    kind: str,
    blocks: list[nn.Module],
    find: Callable[[nn.Module], str | None],
    stream: Stream,
    refused: dict[Stream, str],
) -> Callable[[nn.Module], nn.Module]:
    """Return the part that all blocks have at the same place; where there is none, note why."""
    paths = {find(block) for block in blocks}
    present = sorted(path for path in paths if path is not None)
    if len(present) == 1 and None not in paths:
        return part(present[0])
    if not present:
        reason = f"in its blocks no {kind} was found"
    elif None in paths:
        reason = f"some of its blocks have no {kind}"
    else:
        reason = f"its blocks have their {kind} at different places ({', '.join(present)})"
    refused[stream] = reason
    return _never(reason)


def _never(reason: str) -> Callable[[nn.Module], nn.Module]:
    def absent(block: nn.Module) -> nn.Module:
        raise LookupError(reason)

    return absent


def _head_widths(
    model: Any,
    blocks: list[nn.Module],
    projection: Callable[[nn.Module], nn.Module],
    refused: dict[Stream, str],
) -> tuple[int, ...] | None:
    """Return the length of a head's output in each block; where heads can't be told apart, note why."""
    if "head_output" in refused:
        return None
    read, heads = [_reads(projection(block)) for block in blocks], _n_heads(text_config(model))
    if not heads:
        refused["head_output"] = "its config says no number of heads that holds for all blocks"
    elif any(width is None or width % heads for width in read):
        refused["head_output"] = f"what its output projections read is no {heads} heads side by side"
    else:
        return tuple(width // heads for width in read if width is not None)
    return None


def _reads(projection: nn.Module) -> int | None:
    """Return the number of features that a linear layer reads, in torch's or GPT-2's form."""
    for name in ("in_features", "nx"):
        size = getattr(projection, name, None)
        if isinstance(size, int):
            return size
    return None


def _attention(block: nn.Module) -> str | None:
    """Return the path of a block's attention; one with an output projection goes first."""
    attentions = list(_attentions(block))
    with_projection = [name for name, child in attentions if _projection(child) is not None]
    return next(iter([*with_projection, *(name for name, _ in attentions)]), None)


def _attentions(block: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, child in block.named_children():
        words = f"{name} {type(child).__name__}".lower()
        known = any(word in words for word in _ATTENTIONS)
        if known and not any(word in words for word in _NO_ATTENTIONS):
            yield name, child


def _projection_path(block: nn.Module) -> str | None:
    attention = _attention(block)
    projection = None if attention is None else _projection(block.get_submodule(attention))
    return None if projection is None else f"{attention}.{projection}"


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
