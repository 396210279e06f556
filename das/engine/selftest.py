"""Tests on the loaded weights whether the places of a target's streams are what the suite takes them for. It
knows the laws of a causal residual stream, and of the family only what it declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from das.engine.direct import DirectEngine
from das.engine.hooks import captured, rewritten
from das.engine.protocol import Engine, ForcedPair
from das.featurizers import MaskedBasis
from das.models.base import Place, TargetModel
from das.sites import STREAMS, Site, Stream
from ravel.common.errors import SuiteError
from ravel.schema import Prompt

__all__ = ["Law", "SelfTest", "check_engine", "prove", "self_test"]

_HOW_TO = "docs/how-to/add-a-model-family.md"
_TOKENS = 6
"""Tokens of each of the two made-up rows."""
_TEXTS = ("Rome is in", "The city of Ulm", "So, where is Oslo: it is the")
"""Texts of different lengths for comparing engines."""

Change = Callable[[Tensor], Tensor]


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

    @property
    def holds(self) -> bool:
        """Whether the measured difference is within the bound; one that is no number is not."""
        return self.measured > self.bound if self.exceeds else self.measured <= self.bound


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What the laws came to on one target."""

    target: str
    """The target's name."""
    family: str
    """The family's name."""
    laws: tuple[Law, ...]
    """Every law that was tried, in the order of the tries."""

    def broken(self) -> tuple[Law, ...]:
        """Return the laws that do not hold."""
        return tuple(law for law in self.laws if not law.holds)

    def check(self) -> None:
        """Raise SuiteError, with the measured difference and the bound, for the first law that is broken."""
        todo = f"choose another model, or declare where its parts are in one file ({_HOW_TO})"
        for law in self.broken():
            raise _refusal(law, f"{self.target}, read as {self.family}", todo)


def _refusal(law: Law, target: str, todo: str) -> SuiteError:
    relation = "more than" if law.exceeds else "at most"
    return SuiteError(
        expected=f"a target in which {law.name} (relative difference {relation} {law.bound:g})",
        came=f"{law.measured:.3g} at {law.where} of {target}",
        todo=todo,
    )


def self_test(target: TargetModel) -> SelfTest:
    """Try the laws on two made-up rows of tokens, at the first, middle and last block; no text is needed.

    - Every block runs once, in order, and the heads side by side are what the output projection reads.
    - Writing a vector where it was read changes nothing.
    - Another vector at a token changes logits there or after it, and none before it.
    - With a block's output that of another row at every token, the logits are that row's: the stream holds
      all that a later block can know.
    - With a changed token below a block, yet the attention's output as it was at all later ones, the block's
      output there is as it was: nothing but the attention takes anything from token to token.
    - With every head that of another row, so is the attention's output.

    Bounds are 1e-3 of the largest number in float32 and 0.05 in the half-width dtypes. Costs about 20 forward
    passes of 12 tokens per block tried. Writes nothing to the target.
    """
    with torch.inference_mode(False), torch.no_grad():
        return SelfTest(target.name, target.family.name, tuple(_Trial(target).laws()))


def prove(engine: Engine) -> None:
    """Raise SuiteError unless the engine's target keeps the laws and the engine answers truly on it.

    Meant for a family that nobody declared. A model that can't be run at all is refused in the same way.
    """
    target = engine.target
    try:
        self_test(target).check()
        check_engine(engine)
    except (TypeError, ValueError, RuntimeError, AttributeError, LookupError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise SuiteError(
            expected=f"a model that the engine {engine.name} can run",
            came=f"{target.name}, read as {target.family.name}, which fails with: {first_line}",
            todo=_otherwise(engine),
        ) from error


def check_engine(engine: Engine) -> None:
    """Raise SuiteError unless the engine answers as `direct` does with each pair alone, where nothing is
    padded.

    An engine may rely on more than where the parts are, such as on positions that can be given.
    """
    target = engine.target
    prompts = [Prompt(text, text, text, None, (0, len(text))) for text in _TEXTS]
    labels = [tuple(int(i) for i in row) for row in _made_up_ids(target)[:, :3]] + [(1,)]
    pairs = [
        ForcedPair(base, source, ids)
        for base, source, ids in zip(prompts, (*prompts[1:], prompts[0]), labels, strict=True)
    ]
    bound = _tolerance(target)
    for stream in STREAMS:
        site = _site(target, stream, target.n_layers // 2)
        swap = MaskedBasis(torch.ones(target.width(site), device=target.device))
        with torch.no_grad():
            expected = DirectEngine(target, batch_tokens=1).interchange_logits(pairs, site, swap)
            found = engine.interchange_logits(pairs, site, swap)
        name = f"the engine {engine.name} answers as one row alone does"
        law = Law(name, str(site), _difference(found, expected), bound)
        if not law.holds:
            raise _refusal(law, f"{target.name}, read as {target.family.name}", _otherwise(engine))


def _otherwise(engine: Engine) -> str:
    other = "choose another model" if engine.name == "direct" else "try --engine direct"
    return f"{other}, or declare the family in one file ({_HOW_TO})"


class _Trial:
    """Two rows of tokens in one target, and what is read of them."""

    def __init__(self, target: TargetModel) -> None:
        self.target = target
        self.bound = _tolerance(target)
        self.ids = _made_up_ids(target)
        self.everywhere = torch.arange(_TOKENS).repeat(2, 1)
        self.blocks = {layer: Place(block) for layer, block in enumerate(target.family.blocks(target.model))}
        self.states, self.logits = self.run(self.blocks)

    def run(
        self, read: Mapping[int, Place], changes: Sequence[tuple[Place, int, Change]] = ()
    ) -> tuple[dict[int, Tensor], Tensor]:
        """Return what is read, [2, tokens, width] each, and the logits, [2, tokens, vocabulary]; all float32.

        A change acts on both rows' vectors at one token of a place, [2, width].
        """
        with ExitStack() as stack:
            for place, token, change in changes:
                stack.enter_context(rewritten(place, torch.tensor([token, token]), change))
            found = stack.enter_context(captured(read, dict.fromkeys(read, self.everywhere), stop=False))
            logits = self.target.model(input_ids=self.ids, use_cache=False).logits.float()
        return found, logits

    def laws(self) -> list[Law]:
        found = [self.order()]
        for layer in sorted({0, self.target.n_layers // 2, self.target.n_layers - 1}):
            heads = self.heads(layer)
            found.append(heads)
            if heads.holds:
                found += self.of_layer(layer)
        return found

    def order(self) -> Law:
        late = sum(layer != place for place, layer in enumerate(self.states))
        missed = len(self.blocks) - len(self.states)
        return Law("each block runs, one after the other", "block_output", float(late + missed), 0.0)

    def heads(self, layer: int) -> Law:
        width, wanted = (
            self.read(self.projection(layer)).shape[-1],
            self.target.n_heads * self.target.width(_site(self.target, "head_output", layer)),
        )
        name = "the heads side by side fill what the attention's output projection reads"
        return Law(name, f"head_output.{layer}", abs(width - wanted) / wanted, 0.0)

    def of_layer(self, layer: int) -> list[Law]:
        found = [law for stream in STREAMS for law in self.of_stream(stream, layer)]
        found += [self.whole_state(layer), self.whole_attention(layer)]
        return [*found, self.only_way(layer)] if layer else found

    def of_stream(self, stream: Stream, layer: int) -> list[Law]:
        site = _site(self.target, stream, layer)
        place, where = self.target.place(site), f"{stream}.{layer}"
        vectors, token = self.read(place), _TOKENS - 2
        _, same = self.run({}, self.as_read(place, vectors))
        _, other = self.run({}, self.as_read(place, vectors.flip(0), [token]))
        return [
            self.law("writing a vector where it was read changes nothing", where, same, self.logits),
            self.law(
                "a vector at one token changes no logits before it",
                where,
                other[:, :token],
                self.logits[:, :token],
            ),
            Law(
                "another vector at one token changes logits there or after it",
                where,
                _difference(other[:, token:], self.logits[:, token:]),
                0.0,
                exceeds=True,
            ),
        ]

    def whole_state(self, layer: int) -> Law:
        """The other row's stream gives the other row's logits."""
        _, swapped = self.run({}, self.as_read(self.blocks[layer], self.states[layer].flip(0)))
        name = "what stands after a block is the whole residual stream"
        return self.law(name, f"block_output.{layer}", swapped, self.logits.flip(0))

    def whole_attention(self, layer: int) -> Law:
        attention, mixed = self.place("attention_output", layer), self.read(self.projection(layer)).flip(0)
        changes: list[tuple[Place, int, Change]] = []
        for head in range(self.target.n_heads):
            place = self.target.place(Site(layer, "head_output", head=head))
            changes += self.as_read(place, mixed[..., place.columns])
        found, _ = self.run({0: attention}, changes)
        name = "the heads are all that the attention returns"
        return self.law(name, f"attention_output.{layer}", found[0], self.read(attention).flip(0))

    def only_way(self, layer: int) -> Law:
        """A token changed below a block reaches later ones through the attention alone."""
        attention = self.place("attention_output", layer)
        later = list(range(2, _TOKENS))
        changes = [
            *self.as_read(self.blocks[layer - 1], self.states[layer - 1].flip(0), [1]),
            *self.as_read(attention, self.read(attention), later),
        ]
        found, _ = self.run({layer: self.blocks[layer]}, changes)
        name = "nothing but the attention takes anything from token to token"
        return self.law(name, f"attention_output.{layer}", found[layer][:, 2:], self.states[layer][:, 2:])

    def read(self, place: Place) -> Tensor:
        found, _ = self.run({0: place})
        if not found:
            raise LookupError(f"the module {type(place.module).__name__} takes no part in a forward pass")
        return found[0]

    def place(self, stream: Stream, layer: int) -> Place:
        return self.target.place(Site(layer, stream))

    def projection(self, layer: int) -> Place:
        block = self.target.family.blocks(self.target.model)[layer]
        return Place(self.target.family.projection(block), "input")

    def as_read(
        self, place: Place, vectors: Tensor, tokens: Sequence[int] = range(_TOKENS)
    ) -> list[tuple[Place, int, Change]]:
        """Return the changes that put `vectors` [2, tokens, width] at these tokens of a place."""
        return [(place, token, _put(vectors[:, token])) for token in tokens]

    def law(self, name: str, where: str, found: Tensor, expected: Tensor) -> Law:
        return Law(name, where, _difference(found, expected), self.bound)


def _put(vectors: Tensor) -> Change:
    return lambda old: vectors.to(old.dtype)


def _site(target: TargetModel, stream: Stream, layer: int) -> Site:
    head = target.n_heads - 1 if stream == "head_output" else None
    return Site(layer, stream, "prompt_last", head)


def _made_up_ids(target: TargetModel) -> Tensor:
    """Return two rows of token ids, spread over the vocabulary and different at every token."""
    vocabulary = int(target.model.get_input_embeddings().num_embeddings)
    steps = torch.arange(1, 2 * _TOKENS + 1) * (vocabulary // (2 * _TOKENS + 1))
    return steps.view(_TOKENS, 2).T.contiguous().to(target.device)


def _tolerance(target: TargetModel) -> float:
    return 1e-3 if target.dtype in (torch.float32, torch.float64) else 0.05


def _difference(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference relative to the largest number expected; infinite for other shapes."""
    if found.shape != expected.shape:
        return float("inf")
    scale = float(expected.abs().max())
    return float((found - expected).abs().max()) / (scale or 1.0)
