"""What a model family must declare and what a loaded target model offers; it knows no features or pairs."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from das.models.configs import longest_row, number_in, text_config, turning_points
from das.models.instrument import Instrument, end_ids_of, sampled_fingerprint
from das.sites import STREAMS, Site, Stream, check_offered


def part(path: str) -> Callable[[nn.Module], nn.Module]:
    """Return a function from a block to its part at a dotted path, such as `self_attn.o_proj`."""
    return lambda block: block.get_submodule(path)


def layers_at(path: str) -> Callable[[nn.Module], nn.ModuleList]:
    """Return a function from a model to its blocks at a dotted path, such as `model.layers`."""

    def layers(model: nn.Module) -> nn.ModuleList:
        blocks = model.get_submodule(path)
        assert isinstance(blocks, nn.ModuleList), f"{path} is a {type(blocks).__name__}"
        return blocks

    return layers


def _computed_on(module: nn.Module) -> torch.device:
    """Return the device that accelerate brings a module's weights to or, if it does not, where they lie."""
    for part in module.modules():
        hook = getattr(part, "_hf_hook", None)
        for one in getattr(hook, "hooks", (hook,)):
            device = getattr(one, "execution_device", None)
            if device is not None:
                return torch.device(device)
    return next(module.parameters()).device


def _attention_heads(config: Any) -> int:
    return int(config.num_attention_heads)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a site's vector stands inside a model that is running."""

    module: nn.Module
    """The module whose output or input holds the vector."""
    side: Literal["output", "input"] = "output"
    """`output`: what the module returns, bare or first in a tuple; `input`: its first argument."""
    columns: slice | None = None
    """The vector's part of the last axis; None: the whole of it."""

    def __hash__(self) -> int:
        # Slices have no hash before Python 3.12.
        part = None if self.columns is None else (self.columns.start, self.columns.stop)
        return hash((self.module, self.side, part))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFamily:
    """Where a family keeps its blocks and their parts; one file per family, bound to `FAMILY`."""

    name: str
    """As in `ravel list models`: `gpt2`."""
    model_types: tuple[str, ...]
    """The `model_type` values of Hugging Face configs that this family serves."""
    blocks: Callable[[nn.Module], nn.ModuleList]
    """Returns the decoder blocks of a causal language model, in order; `layers_at(path)` makes it."""
    attention: Callable[[nn.Module], nn.Module]
    """Returns the attention module of a block; its output, bare or first in a tuple, is
    `attention_output`."""
    mlp: Callable[[nn.Module], nn.Module]
    """Returns the MLP module of a block; its output is `mlp_output`, [batch, tokens, d_model] or with the
    first two axes flattened."""
    projection: Callable[[nn.Module], nn.Module]
    """Returns the output projection of a block's attention. Its one positional input holds the outputs of the
    heads side by side, [batch, tokens, n_heads * head width]: each slice is a `head_output`."""
    miniature: Callable[[], Any]
    """Returns the config of a tiny random model for the contract tests: 4 layers, width at most 32,
    vocabulary 128."""
    n_heads: Callable[[Any], int] = _attention_heads
    """Returns the number of heads of every attention, given the model's config."""
    head_widths: tuple[int, ...] | None = None
    """Length of one head's output in each block; None: in all of them the config's `head_dim`, or else an
    equal share of the stream."""
    beyond_reference: Mapping[Stream, str] = field(default_factory=dict)
    """Streams that pyvene can't reach in this family, each with the reason; `reference` refuses them."""
    refused: Mapping[Stream, str] = field(default_factory=dict)
    """Streams that this family has not, each with the reason in words; no part is looked up for them."""
    inferred: bool = False
    """True if a program found the parts in an unknown model; such a target is tested before it runs."""


_LLAMA_MINIATURE = {
    "vocab_size": 128,
    "max_position_embeddings": 128,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def llama_shaped(
    name: str,
    config: Any,
    *,
    model_types: tuple[str, ...] = (),
    projection: str = "self_attn.o_proj",
    **special: Any,
) -> ModelFamily:
    """Return a family whose modules have Llama's names, but perhaps for the `projection`, with its class of
    configs and the settings by which its miniature differs from Llama's. `model_types` are those of the
    configs where they are not stated."""
    return ModelFamily(
        name=name,
        model_types=model_types or (config.model_type,),
        blocks=layers_at("model.layers"),
        attention=part("self_attn"),
        mlp=part("mlp"),
        projection=part(projection),
        miniature=lambda: config(**_LLAMA_MINIATURE, **special),
    )


@dataclass(frozen=True, slots=True)
class TargetModel:
    """A loaded causal language model with its tokenizer. The model is frozen and in eval mode."""

    model: Any
    """A `transformers` causal language model."""
    tokenizer: Any
    """A fast tokenizer (character offsets are needed)."""
    family: ModelFamily
    """Where the blocks are."""
    name: str
    """The hub id or the folder's path as the user gave it."""
    instrument: Instrument
    """What the model is, part by part: weights, tokenizer, dtype and all else that decides its numbers."""
    folder: Path | None = None
    """Where the weights were read from and still are, unchanged; None for a model made in memory."""
    refused: Mapping[Stream, str] | None = None
    """Streams that the self-test found not to be what the suite takes them for, each with the reason; None
    before the self-test."""
    no_resume: str | None = None
    """Why the self-test found that the engine `resume` does not answer truly; None if it does."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all parts of the instrument; equal for equal models, whatever the folder."""
        return self.instrument.fingerprint

    @property
    def parts(self) -> Mapping[str, str]:
        """The parts of the instrument by name, each a hash or a short value."""
        return self.instrument.parts

    @property
    def old_fingerprint(self) -> str:
        """What earlier releases knew the model by: its config and samples of every weight, no tokenizer."""
        return sampled_fingerprint(self.model)

    def known_as(self, fingerprint: str) -> TargetModel | None:
        """Return this target under a fingerprint that an artefact states: its own, or that of earlier
        releases. None: the artefact belongs to another model."""
        if fingerprint == self.fingerprint:
            return self
        if fingerprint == self.instrument.own_fingerprint:
            return replace(self, instrument=replace(self.instrument, alias=None))
        if fingerprint != self.old_fingerprint:
            return None
        return replace(self, instrument=replace(self.instrument, alias=fingerprint))

    @property
    def refusals(self) -> Mapping[Stream, str]:
        """Streams that are not offered, by the family or after the self-test, each with the reason."""
        return {**self.family.refused, **(self.refused or {})}

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Streams that are offered, in the order of `STREAMS`."""
        return tuple(stream for stream in STREAMS if stream not in self.refusals)

    @property
    def config(self) -> Any:
        """The config of the decoder of text: of the inner model, where the model reads images too."""
        return text_config(self.model)

    @property
    def n_layers(self) -> int:
        """Number of decoder blocks."""
        return len(self.family.blocks(self.model))

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return int(self.config.hidden_size)

    @property
    def n_heads(self) -> int:
        """Number of heads of every attention (of queries, where keys and values are shared)."""
        return self.family.n_heads(self.config)

    @property
    def head_width(self) -> int:
        """Length of one head's output, the largest where blocks differ in it: as the family has it, or else
        the config's `head_dim`, or else an equal share of the stream."""
        if self.family.head_widths is not None:
            return max(self.family.head_widths)
        return number_in(self.config, "head_dim") or self.d_model // max(1, self.n_heads)

    def width(self, site: Site) -> int:
        """Length of the vector at a site."""
        if site.head is None:
            return self.d_model
        widths = self.family.head_widths
        return self.head_width if widths is None else widths[site.layer]

    def check(self, site: Site) -> None:
        """Raise SuiteError unless the model has the site's layer and head, and its stream is offered."""
        check_offered(site, self.refusals, self.name)
        site.check(self.n_layers, None if site.head is None else self.n_heads)

    def place(self, site: Site) -> Place:
        """Return where a site's vector stands in the model. Raises SuiteError if the model lacks the site."""
        self.check(site)
        block = self.family.blocks(self.model)[site.layer]
        if site.head is not None:
            width = self.width(site)
            columns = slice(site.head * width, (site.head + 1) * width)
            return Place(self.family.projection(block), "input", columns)
        if site.stream == "attention_output":
            return Place(self.family.attention(block))
        return Place(self.family.mlp(block) if site.stream == "mlp_output" else block)

    @property
    def device(self) -> torch.device:
        """Where the embedding is computed: where token ids go, and logits come back to."""
        if getattr(self.model, "hf_device_map", None) is None:
            device: torch.device = next(self.model.parameters()).device
            return device
        return _computed_on(self.model.get_input_embeddings())

    @property
    def block_devices(self) -> tuple[torch.device, ...]:
        """Where each block is computed; blocks that lie in memory or on disk between passes are computed on
        the device that they are brought to."""
        if getattr(self.model, "hf_device_map", None) is None:
            return (self.device,) * self.n_layers
        return tuple(map(_computed_on, self.family.blocks(self.model)))

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        dtype: torch.dtype = next(self.model.parameters()).dtype
        return dtype

    @property
    def max_tokens(self) -> int | None:
        """Longest row of tokens the model can read, or None if its config sets no bound."""
        return longest_row(self.config)

    @property
    def turning_points(self) -> tuple[int, ...]:
        """Lengths, ascending, beyond which a whole row is read otherwise (`das.models.configs`)."""
        return turning_points(self.config)

    def sides(self, lengths: Iterable[int]) -> list[int]:
        """Return how many turning points each length is beyond; rows of one side may share a pass."""
        points = self.turning_points
        return [bisect_left(points, length) for length in lengths]

    def side(self, length: int) -> int:
        """Return how many turning points a row of this length is beyond."""
        return self.sides([length])[0]

    @property
    def end_ids(self) -> frozenset[int]:
        """Token ids that end a text, from the generation config or else the config; may be empty."""
        return end_ids_of(self.model)
