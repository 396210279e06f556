"""The laws of a causal residual stream, tried on two made-up rows of tokens in one target. It knows of the
family only what it declares, and draws no conclusion from a law that is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from das.engine.base.hooks import captured, rewritten
from das.engine.selftest.additive import made_up_rows, tolerance
from das.models.base import Place, TargetModel
from das.models.load import ran_out_of_memory
from das.sites import Site, Stream

__all__ = ["FAILURES", "Law", "Trial", "difference", "first_line", "site_of"]

Put = tuple[Place, int, Tensor]
"""A place, a token, and the vectors [2, width] that take the place of both rows' there."""
FAILURES = (TypeError, ValueError, RuntimeError, AttributeError, LookupError)
"""How a stranger's model fails where a part is not what it is taken for."""


@dataclass(frozen=True, slots=True)
class Law:
    """One law with what was measured."""

    name: str
    """What holds, in words."""
    where: str
    """Stream and layer, such as `block_output.3`, or `` for the whole model."""
    measured: float
    """Largest difference found, relative to the largest number."""
    bound: float
    """What `measured` may be at most, or has to exceed."""
    exceeds: bool = False
    """True if `measured` has to be above `bound` instead."""
    streams: tuple[Stream, ...] = ("block_output",)
    """What can't be offered where the law is broken; without `block_output` there is nothing to offer."""
    failure: str = ""
    """How the trial itself failed, if it did."""

    @property
    def holds(self) -> bool:
        """Whether the measured difference is within the bound; one that is no number is not."""
        return self.measured > self.bound if self.exceeds else self.measured <= self.bound

    def in_words(self) -> str:
        """Return what was to hold, and what was measured."""
        if self.failure:
            return f"that {self.name} can't be tried at {self.where}: {self.failure}"
        relation = "more than" if self.exceeds else "at most"
        return (
            f"it does not hold at {self.where} that {self.name} "
            f"(relative difference {self.measured:.3g}, {relation} {self.bound:g} expected)"
        )


class Trial:
    """Two rows of tokens in one target, and what is read of them."""

    def __init__(self, target: TargetModel) -> None:
        self.target = target
        self.bound = tolerance(target)
        self.ids = made_up_rows(target)
        self.tokens = self.ids.shape[1]
        self.everywhere = torch.arange(self.tokens).repeat(2, 1)
        self.blocks = {layer: Place(block) for layer, block in enumerate(target.family.blocks(target.model))}
        states, logits = self.run(self.blocks, ())
        self.states = {layer: one[0] for layer, one in states.items()}
        self.logits = logits[0]
        self._reads: dict[Place, Tensor] = {}
        self.proven: set[int] = set()
        """Layers at which the attention's output was shown to be what its heads make."""

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

    def laws(self, layers: Sequence[int]) -> list[Law]:
        """Try every law of the streams that are offered, at these layers."""
        found = [self.order()]
        for layer in layers:
            for name, streams, trial in self.trials(layer):
                try:
                    found += trial()
                except FAILURES as error:
                    if "block_output" in streams or ran_out_of_memory(error):
                        raise
                    where, failure = f"{streams[0]}.{layer}", first_line(error)
                    found.append(Law(name, where, float("inf"), 0.0, streams=streams, failure=failure))
        return found

    def trials(self, layer: int) -> Iterator[tuple[str, tuple[Stream, ...], Callable[[], list[Law]]]]:
        """Yield what is tried at a layer: in words, the streams that depend on it, and the trial."""
        offered = self.target.streams
        yield "the stream is there", ("block_output",), lambda: [self.whole_state(layer)]
        for stream in offered:
            yield "the part is there", (stream,), partial(self.of_stream, stream, layer)
        if "head_output" in offered:
            yield "the heads are there", ("head_output",), lambda: [self.heads(layer)]
            # What the heads make is no more known than the heads.
            streams: tuple[Stream, ...] = ("attention_output", "head_output")
            yield "the heads are the attention", streams, lambda: self.whole_attention(layer)
        if layer and "attention_output" in offered:
            yield "the attention is there", ("attention_output",), lambda: [self.only_way(layer)]
        if layer and {"attention_output", "mlp_output"} <= set(offered):
            yield "the MLP's output is added", ("mlp_output",), lambda: [self.straight(layer)]

    def order(self) -> Law:
        """Return the law of the blocks' order."""
        late = sum(layer != place for place, layer in enumerate(self.states))
        missed = len(self.blocks) - len(self.states)
        return Law("each block runs, one after the other", "block_output", float(late + missed), 0.0)

    def heads(self, layer: int) -> Law:
        """Return whether the heads fill what the output projection reads."""
        wanted = self.heads_width(layer)
        width = self.read(self.projection(layer)).shape[-1]
        name = "the heads side by side fill what the attention's output projection reads"
        return Law(name, f"head_output.{layer}", abs(width - wanted) / wanted, 0.0, streams=("head_output",))

    def heads_width(self, layer: int) -> int:
        """Return the length of all heads' outputs side by side."""
        return self.target.n_heads * self.target.width(site_of(self.target, "head_output", layer))

    def of_stream(self, stream: Stream, layer: int) -> list[Law]:
        """Return the laws of writing at one stream of a layer."""
        site = site_of(self.target, stream, layer)
        place, where = self.target.place(site), f"{stream}.{layer}"
        vectors, token = self.read(place), self.tokens - 2
        same, other = self.run(
            {}, self.as_read(place, vectors), self.as_read(place, vectors.flip(0), [token])
        )[1]
        return [
            self.law("writing a vector where it was read changes nothing", where, same, self.logits, stream),
            self.law(
                "a vector at one token changes no logits before it",
                where,
                other[:, :token],
                self.logits[:, :token],
                stream,
            ),
            Law(
                "another vector at one token changes logits there or after it",
                where,
                difference(other[:, token:], self.logits[:, token:]),
                0.0,
                exceeds=True,
                streams=(stream,),
            ),
        ]

    def whole_state(self, layer: int) -> Law:
        """The other row's stream gives the other row's logits."""
        _, swapped = self.run({}, self.as_read(self.blocks[layer], self.states[layer].flip(0)))
        name = "what stands after a block is the whole residual stream"
        return self.law(name, f"block_output.{layer}", swapped[0], self.logits.flip(0))

    def whole_attention(self, layer: int) -> list[Law]:
        """With every head that of the other row, so is the attention's output."""
        attention, mixed = self.place("attention_output", layer), self.read(self.projection(layer)).flip(0)
        if mixed.shape[-1] != self.heads_width(layer):
            # Already said by `heads`; which part of it a head would be is not known.
            return []
        changes: list[Put] = []
        for head in range(self.target.n_heads):
            place = self.target.place(Site(layer, "head_output", head=head))
            changes += self.as_read(place, mixed[..., place.columns])
        found, _ = self.run({0: attention}, changes)
        name, where = "the heads are all that the attention returns", f"attention_output.{layer}"
        expected = self.read(attention).flip(0)
        law = self.law(name, where, found[0][0], expected, "attention_output", "head_output")
        self.proven.update([layer] if law.holds else [])
        return [law]

    def only_way(self, layer: int) -> Law:
        """A token changed below a block reaches later ones through the attention alone."""
        attention = self.place("attention_output", layer)
        later = list(range(2, self.tokens))
        changes = [
            *self.as_read(self.blocks[layer - 1], self.states[layer - 1].flip(0), [1]),
            *self.as_read(attention, self.read(attention), later),
        ]
        found, _ = self.run({layer: self.blocks[layer]}, changes)
        name = "nothing but the attention takes anything from token to token"
        where = f"attention_output.{layer}"
        # Where this fails it may be the MLP that mixes tokens, or the two may be taken for one another.
        streams: tuple[Stream, ...] = ("attention_output", "head_output", "mlp_output")
        return self.law(name, where, found[layer][0, :, 2:], self.states[layer][:, 2:], *streams)

    def straight(self, layer: int) -> Law:
        """With attention and MLP held, another stream below a block comes out above it as it went in.

        So the block adds what these two return, each with whatever norm or factor is its own, and nothing
        else: neither does the MLP return the stream with it, nor is there a further branch. Where a norm
        follows the sum, the stream comes out changed, but it comes out.
        """
        attention, mlp = self.place("attention_output", layer), self.place("mlp_output", layer)
        below, here = self.states[layer - 1], self.states[layer]
        changes = [
            *self.as_read(self.blocks[layer - 1], below.flip(0)),
            *self.as_read(attention, self.read(attention)),
            *self.as_read(mlp, self.read(mlp)),
        ]
        found, _ = self.run({layer: self.blocks[layer]}, changes)
        where = f"mlp_output.{layer}"
        if self.ends_in_a_norm(layer):
            name = "a block's output is more than its MLP's"
            apart = difference(found[layer][0], here)
            return Law(name, where, apart, self.bound, exceeds=True, streams=("mlp_output",))
        name = "a block adds the outputs of its attention and its MLP to the stream, and nothing else"
        # Without its heads nothing else tells whether the attention returns the stream with its output.
        blamed: tuple[Stream, ...] = (
            ("mlp_output",) if layer in self.proven else ("attention_output", "mlp_output")
        )
        return self.law(name, where, found[layer][0], here + below.flip(0) - below, *blamed)

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

    def law(self, name: str, where: str, found: Tensor, expected: Tensor, *streams: Stream) -> Law:
        """Return a law of two tensors that have to agree."""
        apart = difference(found, expected)
        return Law(name, where, apart, self.bound, streams=streams or ("block_output",))


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


def first_line(error: Exception) -> str:
    """Return the beginning of what an error says, or its type where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


def difference(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference relative to the largest number expected; infinite for other shapes."""
    if found.shape != expected.shape:
        return float("inf")
    scale = float(expected.abs().max())
    return float((found - expected).abs().max()) / (scale or 1.0)
