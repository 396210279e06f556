"""The laws of a causal residual stream, tried on two made-up rows of tokens in one target. It knows of the
family only what it declares, and draws no conclusion from a law that is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from torch import Tensor

from das.engine.selftest.additive import tolerance
from das.engine.selftest.law import FAILURES, Law, difference, first_line
from das.engine.selftest.probe import Probe, Put, site_of
from das.models.base import TargetModel
from das.out_of_memory import ran_out_of_memory
from das.sites import Site, Stream

__all__ = ["StreamLaws"]


class StreamLaws:
    """The laws of every stream that a target offers."""

    def __init__(self, target: TargetModel) -> None:
        """Run the probe once; writes nothing to the target."""
        self._target = target
        self._probe = Probe(target)
        self._bound = tolerance(target)
        self._known_attention: set[int] = set()
        """Layers at which the attention's output was shown to be what its heads make."""

    def tried(self, layers: Sequence[int]) -> list[Law]:
        """Try every law of the streams that are offered, at these layers."""
        found = [self._order()]
        for layer in layers:
            for name, streams, trial in self._trials(layer):
                try:
                    found += trial()
                except FAILURES as error:
                    if "block_output" in streams or ran_out_of_memory(error):
                        raise
                    where, failure = f"{streams[0]}.{layer}", first_line(error)
                    found.append(Law(name, where, float("inf"), 0.0, streams=streams, failure=failure))
        return found

    def _trials(self, layer: int) -> Iterator[tuple[str, tuple[Stream, ...], Callable[[], list[Law]]]]:
        """Yield what is tried at a layer: in words, the streams that depend on it, and the trial."""
        offered = self._target.streams
        yield "the stream is there", ("block_output",), lambda: [self._whole_state(layer)]
        for stream in offered:
            yield "the part is there", (stream,), partial(self._of_stream, stream, layer)
        if "head_output" in offered:
            yield "the heads are there", ("head_output",), lambda: [self._heads(layer)]
            # What the heads make is no more known than the heads.
            streams: tuple[Stream, ...] = ("attention_output", "head_output")
            yield "the heads are the attention", streams, lambda: self._whole_attention(layer)
        if layer and "attention_output" in offered:
            yield "the attention is there", ("attention_output",), lambda: [self._only_way(layer)]
        if layer and {"attention_output", "mlp_output"} <= set(offered):
            yield "the MLP's output is added", ("mlp_output",), lambda: [self._straight(layer)]

    def _order(self) -> Law:
        """Return the law of the blocks' order."""
        probe = self._probe
        late = sum(layer != place for place, layer in enumerate(probe.states))
        missed = len(probe.blocks) - len(probe.states)
        return Law("each block runs, one after the other", "block_output", float(late + missed), 0.0)

    def _heads(self, layer: int) -> Law:
        """Return whether the heads fill what the output projection reads."""
        wanted = self._heads_width(layer)
        width = self._probe.read(self._probe.projection(layer)).shape[-1]
        name = "the heads side by side fill what the attention's output projection reads"
        return Law(name, f"head_output.{layer}", abs(width - wanted) / wanted, 0.0, streams=("head_output",))

    def _heads_width(self, layer: int) -> int:
        """Return the length of all heads' outputs side by side."""
        return self._target.n_heads * self._target.width(site_of(self._target, "head_output", layer))

    def _of_stream(self, stream: Stream, layer: int) -> list[Law]:
        """Return the laws of writing at one stream of a layer."""
        probe = self._probe
        site = site_of(self._target, stream, layer)
        place, where = self._target.place(site), f"{stream}.{layer}"
        vectors, token = probe.read(place), probe.tokens - 2
        changes = (probe.as_read(place, vectors), probe.as_read(place, vectors.flip(0), [token]))
        same, other = probe.run({}, *changes)[1]
        return [
            self._law(
                "writing a vector where it was read changes nothing", where, same, probe.logits, stream
            ),
            self._law(
                "a vector at one token changes no logits before it",
                where,
                other[:, :token],
                probe.logits[:, :token],
                stream,
            ),
            Law(
                "another vector at one token changes logits there or after it",
                where,
                difference(other[:, token:], probe.logits[:, token:]),
                0.0,
                exceeds=True,
                streams=(stream,),
            ),
        ]

    def _whole_state(self, layer: int) -> Law:
        """The other row's stream gives the other row's logits."""
        probe = self._probe
        _, swapped = probe.run({}, probe.as_read(probe.blocks[layer], probe.states[layer].flip(0)))
        name = "what stands after a block is the whole residual stream"
        return self._law(name, f"block_output.{layer}", swapped[0], probe.logits.flip(0))

    def _whole_attention(self, layer: int) -> list[Law]:
        """With every head that of the other row, so is the attention's output."""
        probe = self._probe
        attention = probe.place("attention_output", layer)
        mixed = probe.read(probe.projection(layer)).flip(0)
        if mixed.shape[-1] != self._heads_width(layer):
            # Already said by `heads`; which part of it a head would be is not known.
            return []
        changes: list[Put] = []
        for head in range(self._target.n_heads):
            place = self._target.place(Site(layer, "head_output", head=head))
            changes += probe.as_read(place, mixed[..., place.columns])
        found, _ = probe.run({0: attention}, changes)
        name, where = "the heads are all that the attention returns", f"attention_output.{layer}"
        expected = probe.read(attention).flip(0)
        law = self._law(name, where, found[0][0], expected, "attention_output", "head_output")
        self._known_attention.update([layer] if law.holds else [])
        return [law]

    def _only_way(self, layer: int) -> Law:
        """A token changed below a block reaches later ones through the attention alone."""
        probe = self._probe
        attention = probe.place("attention_output", layer)
        later = list(range(2, probe.tokens))
        changes = [
            *probe.as_read(probe.blocks[layer - 1], probe.states[layer - 1].flip(0), [1]),
            *probe.as_read(attention, probe.read(attention), later),
        ]
        found, _ = probe.run({layer: probe.blocks[layer]}, changes)
        name = "nothing but the attention takes anything from token to token"
        where = f"attention_output.{layer}"
        # Where this fails it may be the MLP that mixes tokens, or the two may be taken for one another.
        streams: tuple[Stream, ...] = ("attention_output", "head_output", "mlp_output")
        return self._law(name, where, found[layer][0, :, 2:], probe.states[layer][:, 2:], *streams)

    def _straight(self, layer: int) -> Law:
        """With attention and MLP held, another stream below a block comes out above it as it went in.

        So the block adds what these two return, each with whatever norm or factor is its own, and nothing
        else: neither does the MLP return the stream with it, nor is there a further branch. Where a norm
        follows the sum, the stream comes out changed, but it comes out.
        """
        probe = self._probe
        attention, mlp = probe.place("attention_output", layer), probe.place("mlp_output", layer)
        below, here = probe.states[layer - 1], probe.states[layer]
        changes = [
            *probe.as_read(probe.blocks[layer - 1], below.flip(0)),
            *probe.as_read(attention, probe.read(attention)),
            *probe.as_read(mlp, probe.read(mlp)),
        ]
        found, _ = probe.run({layer: probe.blocks[layer]}, changes)
        where = f"mlp_output.{layer}"
        if probe.ends_in_a_norm(layer):
            name = "a block's output is more than its MLP's"
            apart = difference(found[layer][0], here)
            return Law(name, where, apart, self._bound, exceeds=True, streams=("mlp_output",))
        name = "a block adds the outputs of its attention and its MLP to the stream, and nothing else"
        # Without its heads nothing else tells whether the attention returns the stream with its output.
        blamed: tuple[Stream, ...] = (
            ("mlp_output",) if layer in self._known_attention else ("attention_output", "mlp_output")
        )
        return self._law(name, where, found[layer][0], here + below.flip(0) - below, *blamed)

    def _law(self, name: str, where: str, found: Tensor, expected: Tensor, *streams: Stream) -> Law:
        """Return a law of two tensors that have to agree."""
        apart = difference(found, expected)
        return Law(name, where, apart, self._bound, streams=streams or ("block_output",))
