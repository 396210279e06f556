"""Where in a model a vector is read and written; it knows no model, only the grammar
`stream.layer@position`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from ravel.common.errors import SuiteError, unknown_name

__all__ = ["POSITIONS", "STREAMS", "Position", "Site", "Stream"]

Stream = Literal["block_output"]
Position = Literal["entity_last", "prompt_last"]
STREAMS: tuple[Stream, ...] = get_args(Stream)
POSITIONS: tuple[Position, ...] = get_args(Position)
_GRAMMAR = re.compile(r"(?P<stream>\w+)\.(?P<layer>\d+)@(?P<position>\w+)")


@dataclass(frozen=True, slots=True, order=True)
class Site:
    """One vector per prompt: a stream, a layer (blocks counted from 0) and a position."""

    layer: int
    """Index of the block, from 0."""
    stream: Stream = "block_output"
    """`block_output`: the residual stream after the block."""
    position: Position = "entity_last"
    """`entity_last`: the last token of the entity's name; `prompt_last`: the last token of the prompt."""

    @classmethod
    def parse(cls, text: str) -> Site:
        """Read `block_output.3@entity_last`. Raises SuiteError for any other form or an unknown part."""
        match = _GRAMMAR.fullmatch(text)
        if match is None:
            raise SuiteError(
                expected="a site of the form stream.layer@position",
                came=repr(text),
                todo="write for instance block_output.3@entity_last",
            )
        if match["stream"] not in STREAMS:
            raise unknown_name("stream", match["stream"], STREAMS)
        if match["position"] not in POSITIONS:
            raise unknown_name("position", match["position"], POSITIONS)
        stream = next(s for s in STREAMS if s == match["stream"])
        position = next(p for p in POSITIONS if p == match["position"])
        return cls(layer=int(match["layer"]), stream=stream, position=position)

    def check(self, n_layers: int) -> None:
        """Raise SuiteError unless the model has this layer."""
        if self.layer >= n_layers:
            raise SuiteError(
                expected=f"a layer from 0 to {n_layers - 1}, for this model has {n_layers} blocks",
                came=f"layer {self.layer} in {self}",
                todo="choose a layer of the model",
            )

    def __str__(self) -> str:
        return f"{self.stream}.{self.layer}@{self.position}"
