"""Rows of made-up tokens in one target: what stands at its places, and what comes of other vectors there. It
knows no laws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from das.engine.base.hooks import captured, rewritten
from das.engine.selftest.additive import made_up_rows
from das.engine.selftest.law import FAILURES
from das.models.base import Place, TargetModel
from das.out_of_memory import ran_out_of_memory
from das.sites import Site, Stream


@dataclass(frozen=True, slots=True)
class Put:
    """Vectors that take the place of others."""

    place: Place
    """Where."""
    vectors: Tensor
    """What is put there, [rows, tokens, width]."""
    tokens: Sequence[int] | None = None
    """At which tokens of every row; None: at all."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What is changed, and what is read then."""

    changes: Sequence[Put]
    """All that is put into the rows."""
    read: Place | None = None
    """The place that is read besides the logits."""


@dataclass(frozen=True, slots=True)
class Came:
    """What came of a trial, in float32."""

    logits: Tensor
    """[rows, tokens, vocabulary]."""
    read: Tensor
    """What stands at the place that was asked for, [rows, tokens, width]; empty where none was."""


def run_trials(target: TargetModel, ids: Tensor, trials: Sequence[Trial]) -> list[Came]:
    """Return what comes of each trial on rows of ids [rows, tokens].

    All run in one pass, each on rows of its own, which costs little more than one of them.
    """
    count, (rows, tokens) = len(trials), ids.shape
    everywhere = torch.arange(tokens).repeat(count * rows, 1)
    read = {trial.read: trial.read for trial in trials if trial.read is not None}
    with ExitStack() as stack:
        for place, changes in _by_place(trials).items():
            stack.enter_context(rewritten(place, everywhere, partial(_put, changes, rows)))
        found = stack.enter_context(captured(read, dict.fromkeys(read, everywhere), stop=False))
        logits = target.model(input_ids=ids.repeat(count, 1), use_cache=False).logits.float()
    spans = [slice(rows * number, rows * (number + 1)) for number in range(count)]
    return [
        Came(logits[span], logits.new_zeros(0) if trial.read is None else found[trial.read][span])
        for trial, span in zip(trials, spans, strict=True)
    ]


class Probe:
    """Two rows of tokens in one target, and what is read of them."""

    def __init__(self, target: TargetModel, layers: Sequence[int] = ()) -> None:
        """Run the rows once. What the laws ask of `layers` is read on the way, if all of it can be; what
        can't be tells when it is asked for, by a pass of its own."""
        self.target = target
        self.ids = made_up_rows(target)
        self.tokens = self.ids.shape[1]
        self.everywhere = torch.arange(self.tokens).repeat(2, 1)
        self.blocks = {layer: Place(block) for layer, block in enumerate(target.family.blocks(target.model))}
        self._reads: dict[Place, Tensor] = {}
        try:
            self._run([place for layer in layers for place in self._places(layer)])
        except FAILURES as error:
            if ran_out_of_memory(error):
                raise
            self._run([])

    def _run(self, places: Sequence[Place]) -> None:
        wanted: dict[int | Place, Place] = {place: place for place in places}
        wanted |= self.blocks.items()
        with captured(wanted, dict.fromkeys(wanted, self.everywhere), stop=False) as found:
            self.logits = self.target.model(input_ids=self.ids, use_cache=False).logits.float()
        self.states = {key: vectors for key, vectors in found.items() if isinstance(key, int)}
        self._reads = {key: vectors for key, vectors in found.items() if isinstance(key, Place)}

    def _places(self, layer: int) -> Iterator[Place]:
        """Yield what there is to read at a layer."""
        for stream in self.target.streams:
            with suppress(*FAILURES):
                yield self.place(stream, layer)
        with suppress(*FAILURES):
            yield self.projection(layer)
        yield from self._norms(layer)

    def run(self, trials: Sequence[Trial]) -> list[Came]:
        """Return what comes of each trial on both rows; one without changes runs no model."""
        running = [trial for trial in trials if trial.changes]
        came = iter(run_trials(self.target, self.ids, running) if running else [])
        as_before = Came(self.logits, self.logits.new_zeros(0))
        return [next(came) if trial.changes else as_before for trial in trials]

    def ends_in_a_norm(self, layer: int) -> bool:
        """Return whether a norm of the block gives what the block returns."""
        for norm in self._norms(layer):
            with suppress(LookupError):
                if torch.equal(self.read(norm), self.states[layer]):
                    return True
        return False

    def _norms(self, layer: int) -> list[Place]:
        parts = self.blocks[layer].module.children()
        return [Place(part) for part in parts if "norm" in type(part).__name__.lower()]

    def read(self, place: Place) -> Tensor:
        """Return what stands at a place, [2, tokens, width]; read once each."""
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
        return self.target.place(site_of(self.target, stream, layer))

    def projection(self, layer: int) -> Place:
        """Return where the heads' outputs stand side by side at a layer."""
        block = self.target.family.blocks(self.target.model)[layer]
        return Place(self.target.family.projection(block), "input")


Changes = Mapping[int, Sequence[Put]]
"""What is put into one place, by the number of the trial."""


def _by_place(trials: Sequence[Trial]) -> dict[Place, dict[int, list[Put]]]:
    """Return by place which trials put what there."""
    found: dict[Place, dict[int, list[Put]]] = {}
    for number, trial in enumerate(trials):
        for put in trial.changes:
            found.setdefault(put.place, {}).setdefault(number, []).append(put)
    return found


def _put(changes: Changes, rows: int, old: Tensor) -> Tensor:
    """Return vectors [trials * rows, tokens, width] with those of some trials exchanged."""
    new = old.clone()
    for number, puts in changes.items():
        own = new[rows * number : rows * (number + 1)]
        for put in puts:
            tokens = list(range(old.shape[1]) if put.tokens is None else put.tokens)
            own[:, tokens] = put.vectors[:, tokens].to(old)
    return new


def site_of(target: TargetModel, stream: Stream, layer: int) -> Site:
    """Return a site of the stream: the last prompt token, and the last head where there are heads."""
    head = target.n_heads - 1 if stream == "head_output" else None
    return Site(layer, stream, "prompt_last", head)
