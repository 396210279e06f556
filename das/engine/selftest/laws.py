"""The laws of a causal residual stream, tried on two made-up rows of tokens in one target. It knows of the
family only what it declares, and draws no conclusion from a law that is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from das.engine.selftest.additive import tolerance
from das.engine.selftest.law import FAILURES, Law, difference, first_line
from das.engine.selftest.probe import Came, Probe, Put, Trial, site_of
from das.models.base import TargetModel
from das.out_of_memory import ran_out_of_memory
from das.sites import Site, Stream


@dataclass(frozen=True, slots=True)
class _Question:
    """A trial, and what follows of what comes of it."""

    trial: Trial
    laws: Callable[[Came], list[Law]]


@dataclass(frozen=True, slots=True)
class _Part:
    """What is asked about one part of a layer."""

    name: str
    """What the question takes for granted, in words."""
    streams: tuple[Stream, ...]
    """What depends on it."""
    asked: Callable[[], _Question]
    """Makes the question, which may fail."""


class StreamLaws:
    """The laws of every stream that a target offers, at some layers."""

    def __init__(self, target: TargetModel, layers: Sequence[int]) -> None:
        """Run the probe once; writes nothing to the target."""
        self._target = target
        self._layers = layers
        self._probe = Probe(target, layers)
        self._bound = tolerance(target)
        self._known_attention: set[int] = set()
        """Layers at which the attention's output was shown to be what its heads make."""

    def tried(self) -> list[Law]:
        """Try every law of the streams that are offered.

        All trials of a layer run in one pass. Where one fails or a law is broken, each runs by itself: that
        tells whose fault it is, and that it is not the company's.
        """
        laws = [self._order()]
        for layer in self._layers:
            parts = list(self._parts(layer))
            laws += self._together(parts) or [law for part in parts for law in self._by_itself(part, layer)]
        return laws

    def _together(self, parts: Sequence[_Part]) -> list[Law] | None:
        """Return the laws of all parts if they hold, or None."""
        try:
            laws = self._answered(parts)
        except FAILURES as error:
            if ran_out_of_memory(error):
                raise
            return None
        return laws if all(law.holds for law in laws) else None

    def _answered(self, parts: Sequence[_Part]) -> list[Law]:
        questions = [part.asked() for part in parts]
        came = self._probe.run([question.trial for question in questions])
        return [law for one, outcome in zip(questions, came, strict=True) for law in one.laws(outcome)]

    def _by_itself(self, part: _Part, layer: int) -> list[Law]:
        try:
            return self._answered([part])
        except FAILURES as error:
            if "block_output" in part.streams or ran_out_of_memory(error):
                raise
            where, failure = f"{part.streams[0]}.{layer}", first_line(error)
            return [Law(part.name, where, float("inf"), 0.0, streams=part.streams, failure=failure)]

    def _parts(self, layer: int) -> Iterator[_Part]:
        """Yield what is asked at a layer."""
        offered = self._target.streams
        yield _Part("the stream is there", ("block_output",), partial(self._whole_state, layer))
        for stream in offered:
            yield _Part("the part is there", (stream,), partial(self._of_stream, stream, layer))
        if "head_output" in offered:
            yield _Part("the heads are there", ("head_output",), partial(self._heads, layer))
            # What the heads make is no more known than the heads.
            streams: tuple[Stream, ...] = ("attention_output", "head_output")
            yield _Part("the heads are the attention", streams, partial(self._whole_attention, layer))
        if layer and "attention_output" in offered:
            yield _Part("the attention is there", ("attention_output",), partial(self._only_way, layer))
        if layer and {"attention_output", "mlp_output"} <= set(offered):
            yield _Part("the MLP's output is added", ("mlp_output",), partial(self._straight, layer))

    def _order(self) -> Law:
        """Return the law of the blocks' order."""
        probe = self._probe
        late = sum(layer != place for place, layer in enumerate(probe.states))
        missed = len(probe.blocks) - len(probe.states)
        return Law("each block runs, one after the other", "block_output", float(late + missed), 0.0)

    def _heads(self, layer: int) -> _Question:
        """Ask whether the heads fill what the output projection reads."""
        wanted = self._heads_width(layer)
        width = self._probe.read(self._probe.projection(layer)).shape[-1]
        name = "the heads side by side fill what the attention's output projection reads"
        apart = abs(width - wanted) / wanted
        law = Law(name, f"head_output.{layer}", apart, 0.0, streams=("head_output",))
        return _Question(Trial(()), lambda came: [law])

    def _heads_width(self, layer: int) -> int:
        """Return the length of all heads' outputs side by side."""
        return self._target.n_heads * self._target.width(site_of(self._target, "head_output", layer))

    def _of_stream(self, stream: Stream, layer: int) -> _Question:
        """Write at one stream of a layer: in the first row what was read there, in the second one another
        vector at one token."""
        probe, token = self._probe, self._probe.tokens - 2
        place = probe.place(stream, layer)
        vectors = probe.read(place).clone()
        vectors[1, token] = vectors[0, token]
        return _Question(
            Trial((Put(place, vectors),)), partial(self._of_writing, stream, f"{stream}.{layer}", token)
        )

    def _of_writing(self, stream: Stream, where: str, token: int, came: Came) -> list[Law]:
        """Return the laws of writing, another vector having been put at a token of the second row."""
        (same, other), (first, second) = came.logits, self._probe.logits
        unmoved = "writing a vector where it was read changes nothing"
        causal = "a vector at one token changes no logits before it"
        heeded = "another vector at one token changes logits there or after it"
        apart = difference(other[token:], second[token:])
        return [
            self._law(unmoved, where, same, first, stream),
            self._law(causal, where, other[:token], second[:token], stream),
            Law(heeded, where, apart, 0.0, exceeds=True, streams=(stream,)),
        ]

    def _whole_state(self, layer: int) -> _Question:
        """The other row's stream gives the other row's logits."""
        probe, name = self._probe, "what stands after a block is the whole residual stream"
        return _Question(
            Trial((Put(probe.blocks[layer], probe.states[layer].flip(0)),)),
            lambda came: [self._law(name, f"block_output.{layer}", came.logits, probe.logits.flip(0))],
        )

    def _whole_attention(self, layer: int) -> _Question:
        """With every head that of the other row, so is the attention's output."""
        probe = self._probe
        attention = probe.place("attention_output", layer)
        mixed = probe.read(probe.projection(layer)).flip(0)
        if mixed.shape[-1] != self._heads_width(layer):
            # Already said by `heads`; which part of it a head would be is not known.
            return _Question(Trial(()), lambda came: [])
        expected = probe.read(attention).flip(0)
        heads = [
            self._target.place(Site(layer, "head_output", head=head)) for head in range(self._target.n_heads)
        ]
        name = "the heads are all that the attention returns"

        def laws(came: Came) -> list[Law]:
            where = f"attention_output.{layer}"
            law = self._law(name, where, came.read, expected, "attention_output", "head_output")
            self._known_attention.update([layer] if law.holds else [])
            return [law]

        return _Question(Trial([Put(head, mixed[..., head.columns]) for head in heads], attention), laws)

    def _only_way(self, layer: int) -> _Question:
        """A token changed below a block reaches later ones through the attention alone."""
        probe = self._probe
        attention, later = probe.place("attention_output", layer), range(2, probe.tokens)
        changes = (
            Put(probe.blocks[layer - 1], probe.states[layer - 1].flip(0), [1]),
            Put(attention, probe.read(attention), later),
        )
        name = "nothing but the attention takes anything from token to token"
        where = f"attention_output.{layer}"
        expected = probe.states[layer][:, 2:]
        # Where this fails it may be the MLP that mixes tokens, or the two may be taken for one another.
        streams: tuple[Stream, ...] = ("attention_output", "head_output", "mlp_output")
        return _Question(
            Trial(changes, probe.blocks[layer]),
            lambda came: [self._law(name, where, came.read[:, 2:], expected, *streams)],
        )

    def _straight(self, layer: int) -> _Question:
        """With attention and MLP held, another stream below a block comes out above it as it went in.

        So the block adds what these two return, each with whatever norm or factor is its own, and nothing
        else: neither does the MLP return the stream with it, nor is there a further branch. Where a norm
        follows the sum, the stream comes out changed, but it comes out.
        """
        probe = self._probe
        attention, mlp = probe.place("attention_output", layer), probe.place("mlp_output", layer)
        changes = (
            Put(probe.blocks[layer - 1], probe.states[layer - 1].flip(0)),
            Put(attention, probe.read(attention)),
            Put(mlp, probe.read(mlp)),
        )
        return _Question(Trial(changes, probe.blocks[layer]), partial(self._of_adding, layer))

    def _of_adding(self, layer: int, came: Came) -> list[Law]:
        """Return the law of what comes out of a block whose attention and MLP were held."""
        probe, where = self._probe, f"mlp_output.{layer}"
        below, here = probe.states[layer - 1], probe.states[layer]
        if probe.ends_in_a_norm(layer):
            name = "a block's output is more than its MLP's"
            apart = difference(came.read, here)
            return [Law(name, where, apart, self._bound, exceeds=True, streams=("mlp_output",))]
        name = "a block adds the outputs of its attention and its MLP to the stream, and nothing else"
        # Without its heads nothing else tells whether the attention returns the stream with its output.
        blamed: tuple[Stream, ...] = (
            ("mlp_output",) if layer in self._known_attention else ("attention_output", "mlp_output")
        )
        moved = (below.flip(0) - below).to(here.device)
        return [self._law(name, where, came.read, here + moved, *blamed)]

    def _law(self, name: str, where: str, found: Tensor, expected: Tensor, *streams: Stream) -> Law:
        """Return a law of two tensors that have to agree."""
        apart = difference(found, expected)
        return Law(name, where, apart, self._bound, streams=streams or ("block_output",))
