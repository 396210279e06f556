"""Where in a model a vector is read and written; it knows no model, only the grammar
`stream.layer@position`, with a head after the layer where the stream has heads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from ravel.common.errors import SuiteError, one_of

Stream = Literal["block_output", "attention_output", "mlp_output", "head_output"]
Position = Literal["entity_last", "prompt_last"]
STREAMS: tuple[Stream, ...] = get_args(Stream)
POSITIONS: tuple[Position, ...] = get_args(Position)
_GRAMMAR = re.compile(r"(?P<stream>\w+)\.(?P<layer>\d+)(?:\.(?P<head>\d+))?@(?P<position>\w+)")


@dataclass(frozen=True, slots=True, order=True)
class Site:
    """One vector per prompt: a stream, a layer, a position, and a head where the stream has heads."""

    layer: int
    """Index of the block, from 0."""
    stream: Stream = "block_output"
    """`block_output`: the residual stream after the block.

    `attention_output` and `mlp_output`: what the block's attention or MLP module itself returns. In most
    families that is the term it adds to the residual stream; where a norm comes between (Gemma 2), it is what
    the module hands to that norm. Where attention and MLP read the same stream side by side (GPT-NeoX with
    parallel residual), a swap of the one does not reach the other in the same block.

    `head_output`: one head's mix of values, before the attention's output projection: the head's slice of
    what that projection reads."""
    position: Position = "entity_last"
    """`entity_last`: the last token of the entity's name; `prompt_last`: the last token of the prompt."""
    head: int | None = None
    """Index of the attention head, from 0, for `head_output`; None for every other stream."""

    def __post_init__(self) -> None:
        """Raise SuiteError for a head without `head_output` and the other way round."""
        if (self.stream == "head_output") != (self.head is not None):
            wants = "with a head" if self.head is None else "without a head, for only head_output has heads"
            example = f"{self.stream}.{self.layer}{'.0' if self.head is None else ''}@{self.position}"
            raise SuiteError(
                expected=f"{self.stream} {wants}", came=str(self), todo=f"write for instance {example}"
            )

    @classmethod
    def parse(cls, text: str) -> Site:
        """Read `block_output.3@entity_last` or `head_output.3.5@entity_last` (layer 3, head 5). Raises
        SuiteError for any other form, an unknown part, a missing head and one too many."""
        match = _GRAMMAR.fullmatch(text)
        if match is None:
            raise SuiteError(
                expected="a site of the form stream.layer@position, or head_output.layer.head@position",
                came=repr(text),
                todo="write for instance block_output.3@entity_last",
            )
        return cls(
            layer=int(match["layer"]),
            stream=one_of("stream", match["stream"], STREAMS),
            position=one_of("position", match["position"], POSITIONS),
            head=None if match["head"] is None else int(match["head"]),
        )

    def check(self, n_layers: int, n_heads: int | None = None) -> None:
        """Raise SuiteError unless a model of `n_layers` blocks has this layer and, where `n_heads` is given,
        this head."""
        if not 0 <= self.layer < n_layers:
            raise SuiteError(
                expected=f"a layer from 0 to {n_layers - 1}, for this model has {n_layers} blocks",
                came=f"layer {self.layer} in {self}",
                todo="choose a layer of the model",
            )
        if self.head is not None and n_heads is not None and not 0 <= self.head < n_heads:
            raise SuiteError(
                expected=f"a head from 0 to {n_heads - 1}, for each attention of this model has {n_heads}",
                came=f"head {self.head} in {self}",
                todo="choose a head of the model",
            )

    def __str__(self) -> str:
        head = "" if self.head is None else f".{self.head}"
        return f"{self.stream}.{self.layer}{head}@{self.position}"


def check_offered(site: Site, refusals: Mapping[Stream, str], model: str) -> None:
    """Raise SuiteError, with the reason, for a site of a stream that a model does not offer."""
    if site.stream in refusals:
        offered = ", ".join(stream for stream in STREAMS if stream not in refusals)
        raise SuiteError(
            expected=f"a stream that {model} offers: {offered}",
            came=f"{site}; {refusals[site.stream]}",
            todo="choose a site of one of these streams",
        )


class SiteSpace(Protocol):
    """What has sites: a loaded model, or the mere shape of one."""

    @property
    def name(self) -> str:
        """As the user calls it."""

    @property
    def fingerprint(self) -> str:
        """Equal for equal models."""

    @property
    def parts(self) -> Mapping[str, str]:
        """What that fingerprint is made of, by name; empty where no model is loaded."""

    @property
    def n_layers(self) -> int:
        """Number of blocks."""

    @property
    def n_heads(self) -> int:
        """Attention heads of a block."""

    def width(self, site: Site) -> int:
        """Return the length of the vector at a site."""

    def check(self, site: Site) -> None:
        """Raise SuiteError unless the site is there."""
