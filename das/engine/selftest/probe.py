"""Two made-up rows of tokens in one target: what stands at its places, and what comes of other vectors there.
It knows no laws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor

from das.engine.base.hooks import captured, rewritten
from das.engine.selftest.additive import made_up_rows
from das.models.base import Place, TargetModel
from das.sites import Site, Stream

__all__ = ["Probe", "Put", "site_of"]

Put = tuple[Place, int, Tensor]
"""A place, a token, and the vectors [2, width] that take the place of both rows' there."""


class Probe:
    """Two rows of tokens in one target, and what is read of them."""

    def __init__(self, target: TargetModel) -> None:
        self.target = target
        self.ids = made_up_rows(target)
        self.tokens = self.ids.shape[1]
        self.everywhere = torch.arange(self.tokens).repeat(2, 1)
        self.blocks = {layer: Place(block) for layer, block in enumerate(target.family.blocks(target.model))}
        states, logits = self.run(self.blocks, ())
        self.states = {layer: one[0] for layer, one in states.items()}
        self.logits = logits[0]
        self._reads: dict[Place, Tensor] = {}

    def run(self, read: Mapping[int, Place], *variants: Sequence[Put]) -> tuple[dict[int, Tensor], Tensor]:
        """Return what is read, [variants, 2, tokens, width] each, and the logits,
        [variants, 2, tokens, vocabulary]; all float32.

        Every variant has both rows, and its own changes; all run in one pass, which costs little more than
        one of them.
        """
        count = len(variants)
        everywhere = self.everywhere.repeat(count, 1)
        with ExitStack() as stack:
            for (place, token), changes in _by_place(variants).items():
                where = torch.full((2 * count,), token)
                stack.enter_context(rewritten(place, where, partial(_put, changes)))
            found = stack.enter_context(captured(read, dict.fromkeys(read, everywhere), stop=False))
            logits = self.target.model(input_ids=self.ids.repeat(count, 1), use_cache=False).logits.float()
        return {key: one.unflatten(0, (count, 2)) for key, one in found.items()}, logits.unflatten(
            0, (count, 2)
        )

    def ends_in_a_norm(self, layer: int) -> bool:
        """Return whether a norm of the block gives what the block returns."""
        norms = {
            name: Place(part)
            for name, part in self.blocks[layer].module.named_children()
            if "norm" in type(part).__name__.lower()
        }
        if not norms:
            return False
        everywhere = dict.fromkeys(norms, self.everywhere)
        with captured(norms, everywhere, stop=False) as found:
            self.target.model(input_ids=self.ids, use_cache=False)
        return any(torch.equal(output, self.states[layer]) for output in found.values())

    def read(self, place: Place) -> Tensor:
        """Return what stands at a place, [2, tokens, width], by a pass that ends there; read once each."""
        if place not in self._reads:
            with captured({0: place}, {0: self.everywhere}) as found:
                self.target.model(input_ids=self.ids, use_cache=False)
            if not found:
                part = type(place.module).__name__
                raise LookupError(f"the module {part} takes no part in a forward pass")
            self._reads[place] = found[0]
        return self._reads[place]

    def place(self, stream: Stream, layer: int) -> Place:
        """Return where a stream stands at a layer."""
        return self.target.place(Site(layer, stream))

    def projection(self, layer: int) -> Place:
        """Return where the heads' outputs stand side by side at a layer."""
        block = self.target.family.blocks(self.target.model)[layer]
        return Place(self.target.family.projection(block), "input")

    def as_read(self, place: Place, vectors: Tensor, tokens: Sequence[int] | None = None) -> list[Put]:
        """Return the changes that put `vectors` [2, tokens, width] at these tokens of a place; None: all."""
        where = range(self.tokens) if tokens is None else tokens
        return [(place, token, vectors[:, token]) for token in where]


def _by_place(variants: Sequence[Sequence[Put]]) -> dict[tuple[Place, int], dict[int, Tensor]]:
    """Return by place and token which variants put which vectors there."""
    found: dict[tuple[Place, int], dict[int, Tensor]] = {}
    for number, changes in enumerate(variants):
        for place, token, vectors in changes:
            found.setdefault((place, token), {})[number] = vectors
    return found


def _put(changes: Mapping[int, Tensor], old: Tensor) -> Tensor:
    """Return vectors [variants * 2, width] with those of some variants exchanged."""
    new = old.clone()
    for number, vectors in changes.items():
        new[2 * number : 2 * number + 2] = vectors.to(old.dtype)
    return new


def site_of(target: TargetModel, stream: Stream, layer: int) -> Site:
    """Return a site of the stream: the last prompt token, and the last head where there are heads."""
    head = target.n_heads - 1 if stream == "head_output" else None
    return Site(layer, stream, "prompt_last", head)
