"""How many pairs and prompts a fit puts to the model, whatever the machine, and whatever was kept from
before. It knows engines by their protocol only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from das.engine.base.labels import ForcedLabels
from das.engine.base.protocol import AnswerPair, Engine, FeaturizedPairs, ForcedPair, PromptPair
from das.finding import Actor
from das.sites import Site
from das.training.together import JudgeRequest, Result, Training
from ravel.terms.schema import Completion, Prompt


@dataclass(slots=True)
class Passes:
    """A count. A pair or prompt counts once each time it is asked for, though its answer may be at hand."""

    forward: int = 0
    """Pairs and prompts that the model read."""
    back: int = 0
    """Those of them of which the gradient was wanted."""
    known: bool = True
    """False where a part was done by a version that did not count."""

    def add(self, other: Passes) -> None:
        """Add another count."""
        self.forward += other.forward
        self.back += other.back
        self.known = self.known and other.known


class PassCounter:
    """What one fit asks for: its own, and by key what it shares with other fits, whichever did that."""

    def __init__(self) -> None:
        self.own = Passes()
        """What is no part of anything shared."""
        self.shared: dict[str, Passes] = {}
        """What is."""
        self._apart: list[Passes] = []

    def count(self, rows: int, *, back: bool = False) -> None:
        """Count pairs or prompts."""
        self._open.add(Passes(rows, rows if back else 0))

    def resumed(self, before: Passes) -> None:
        """Count what was asked for before the checkpoint from which a training goes on."""
        self._open.add(before)

    @contextmanager
    def sharing(self, key: str) -> Iterator[Passes]:
        """Count what is asked for in the block under the key, in what is given, to which more may be added.
        What is shared inside something shared is a part of that."""
        self._apart.append(Passes())
        try:
            yield self._apart[-1]
        finally:
            found = self._apart.pop()
            if self._apart:
                self._open.add(found)
            else:
                self.shared[key] = found

    @property
    def _open(self) -> Passes:
        return self._apart[-1] if self._apart else self.own


def counted_training(training: Training[Result], counter: PassCounter) -> Training[Result]:
    """Go on with a training, counting what it wants judged."""
    answer = None
    while True:
        try:
            said = training.send(answer)
        except StopIteration as end:
            result: Result = end.value
            return result
        if isinstance(said, JudgeRequest):
            counter.count(len(said.group.pairs), back=said.learns)
        answer = yield said


def counted_engine(engine: Engine, counter: PassCounter) -> Engine:
    """Return the engine, counting what it is asked for."""
    return cast("Engine", _CountedEngine(engine, counter))


class _CountedEngine:
    """An engine that counts and passes everything on."""

    def __init__(self, engine: Engine, counter: PassCounter) -> None:
        self._engine = engine
        self._counter = counter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def collect(self, prompts: Sequence[Prompt], sites: Sequence[Site]) -> dict[Site, Tensor]:
        self._counter.count(len(prompts))
        return self._engine.collect(prompts, sites)

    def complete(self, prompts: Sequence[Prompt], *args: Any, **options: Any) -> list[Completion]:
        self._counter.count(len(prompts))
        return self._engine.complete(prompts, *args, **options)

    def interchange_logits(self, pairs: Sequence[ForcedPair], site: Site, featurizer: Actor | None) -> Tensor:
        self._counter.count(len(pairs), back=_wants_gradient(featurizer))
        return self._engine.interchange_logits(pairs, site, featurizer)

    def forced_labels(self, groups: Sequence[FeaturizedPairs], site: Site) -> list[ForcedLabels]:
        for group in groups:
            self._counter.count(len(group.pairs), back=_wants_gradient(group.featurizer))
        return self._engine.forced_labels(groups, site)

    def predicts(
        self, choices: Sequence[AnswerPair], site: Site, featurizer: Actor | None
    ) -> list[tuple[bool, bool]]:
        self._counter.count(len(choices))
        return self._engine.predicts(choices, site, featurizer)

    def complete_swapped(self, pairs: Sequence[PromptPair], *args: Any, **options: Any) -> list[Completion]:
        self._counter.count(len(pairs))
        return self._engine.complete_swapped(pairs, *args, **options)


def _wants_gradient(featurizer: Actor | None) -> bool:
    return featurizer is not None and torch.is_grad_enabled()
