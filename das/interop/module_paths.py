"""Paths of modules in a model, such as `model.layers[3].mlp.output`, as places of the suite."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from torch import nn

from das.interop.foreign import StatedPlace
from das.models.base import TargetModel
from das.sites import Stream
from ravel.common.errors import SuiteError

_INDEX = re.compile(r"\[(\d{1,6})\]")


@dataclass(frozen=True, slots=True)
class ModulePath:
    """A side of a module, by the module's path in a model."""

    text: str
    """As it was written."""
    parts: tuple[str, ...]
    """The path's parts without the side; an index is a part of its own."""
    side: Literal["output", "input"] | None
    """Which side of the module; None if the text does not end in one."""

    @classmethod
    def parse(cls, text: str) -> ModulePath | None:
        """Read `model.layers[3].output` or `model.layers.3.output`; None for a name that is no path."""
        if "." not in text and "[" not in text:
            return None
        parts = tuple(_INDEX.sub(r".\1", text).split("."))
        side: Literal["output", "input"] | None = None
        if parts[-1] == "output":
            side = "output"
        elif parts[-1] == "input":
            side = "input"
        return cls(text, parts if side is None else parts[:-1], side)

    @property
    def layer(self) -> int | None:
        """The first index on the path: that of the block, in every model of the suite; None without one."""
        return next((int(part) for part in self.parts if part.isdecimal()), None)

    def place(self) -> StatedPlace:
        """Return what the text alone says: the block and, where the path ends there, which stream. What goes
        into a block is what the one before it leaves."""
        layer, whole = self.layer, bool(self.parts) and self.parts[-1].isdecimal()
        if not whole or layer is None or self.side is None or sum(map(str.isdecimal, self.parts)) > 1:
            return StatedPlace(layer)
        if self.side == "output":
            return StatedPlace(layer, "block_output")
        return StatedPlace(layer - 1, "block_output") if layer else StatedPlace(layer)


def place_of_path(path: ModulePath, target: TargetModel | None) -> tuple[StatedPlace, tuple[str, ...]]:
    """Return which place of the suite a path is, with a note on what could not be checked. The module is
    looked up in `target`, where there is one, and compared with the parts of its family; what is not found
    there is read from the text. Raises SuiteError for a module that is known and no site."""
    stated = path.place()
    if target is None or path.side is None:
        return stated, () if stated.stream else (
            _unchecked(path, f"of which only layer {stated.layer} is read"),
        )
    module = _module(path, target.model)
    if module is None:
        return stated, () if stated.stream else (_unchecked(path, f"which {target.name} has not"),)
    for layer, block in enumerate(target.family.blocks(target.model)):
        if any(module is inside for inside in block.modules()):
            return _in_block(path, target, module, block, layer)
    raise _no_site(path, f"a {type(module).__name__} outside the blocks of {target.name}")


def _in_block(
    path: ModulePath, target: TargetModel, module: nn.Module, block: nn.Module, layer: int
) -> tuple[StatedPlace, tuple[str, ...]]:
    if module is block:
        before = layer if path.side == "output" else layer - 1
        if before < 0:
            raise _no_site(path, "what goes into the first block")
        return StatedPlace(before, "block_output"), ()
    family = target.family
    parts: tuple[tuple[nn.Module, Stream, str], ...] = (
        (family.attention(block), "attention_output", "what goes into an attention"),
        (family.mlp(block), "mlp_output", "what goes into an MLP"),
        (family.projection(block), "attention_output", "all heads of an attention side by side"),
    )
    for part, stream, before_it in parts:
        if module is part:
            if path.side == "input":
                raise _no_site(path, before_it)
            return StatedPlace(layer, stream), ()
    what = f"a {type(module).__name__} in block {layer} that is none of the parts with a stream of their own"
    return StatedPlace(layer), (_unchecked(path, what),)


def _module(path: ModulePath, model: nn.Module) -> nn.Module | None:
    """Return the module at a path, which may begin at the model or at the base model within it."""
    prefix = getattr(model, "base_model_prefix", "")
    for parts in (path.parts, (prefix, *path.parts) if prefix else path.parts):
        try:
            return model.get_submodule(".".join(parts))
        except AttributeError:
            continue
    return None


def _unchecked(path: ModulePath, what: str) -> str:
    return (
        f"UNCHECKED: the file names its place as {path.text}, {what}; see for yourself that it is the site "
        "that you named."
    )


def _no_site(path: ModulePath, what: str) -> SuiteError:
    return SuiteError(
        expected="weights for a site of the suite: the output of a block, of its attention or its MLP",
        came=f"weights for {path.text}, {what}",
        todo="name a file that was made for one of these",
    )
