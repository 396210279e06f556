"""What a training counts on its way: its counters, sums over pairs between two rows of the log, what a fit
asks of the model, whatever the machine and whatever was kept from before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from das.engine.base.labels import ForcedLabels
from das.engine.base.protocol import AnswerPair, Engine, FeaturizedPairs, ForcedPair, PromptPair
from das.finding import Actor
from das.sites import Site
from das.training.checkpoint import unusable_checkpoint
from das.training.objective import TrainingPair
from das.training.together import JudgeRequest, Result, Training
from ravel.common.typed import typed_values
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


@dataclass(slots=True)
class Counters:
    """The counters of a run; all of it goes into checkpoints."""

    epoch: int = 0
    """Epochs that were begun."""
    batches: int = 0
    """Finished batches of an epoch that goes on; 0 between epochs."""
    saves: int = 0
    """Checkpoints written."""
    step: int = 0
    """Finished optimiser steps."""
    best_epoch: int = 0
    """The epoch kept, from 1; 0 before the first."""
    best_accuracy: float = -1.0
    """Its validation accuracy."""
    best_loss: float = 0.0
    """Its validation loss."""
    stale: int = 0
    """Epochs since then."""
    forward: int = 0
    """Pairs judged so far; below 0 in the checkpoint of an earlier version, which did not count them."""
    back: int = 0
    """Those of them with a gradient."""
    rows: list[dict[str, float | int | str]] = field(default_factory=list)
    """Every row logged."""

    def count(self, pairs: int, *, back: bool) -> None:
        """Count judged pairs, unless it is not known how many there were before."""
        if self.forward >= 0:
            self.forward += pairs
            self.back += pairs if back else 0

    def passes(self) -> Passes:
        """Return what was judged so far."""
        known = self.forward >= 0
        return Passes(self.forward, self.back) if known else Passes(known=False)


@dataclass(slots=True)
class Tally:
    """Sums over pairs between two rows of the log."""

    batch_losses: list[float] = field(default_factory=list)
    """What each step minimised."""
    loss: dict[str, float] = field(default_factory=dict)
    """Sums of cross entropies, by the kind of pair."""
    correct: dict[str, int] = field(default_factory=dict)
    """Pairs whose label was predicted, by kind."""
    count: dict[str, int] = field(default_factory=dict)
    """Pairs, by kind."""
    rate: float = 0.0
    """Learning rate of the last step."""

    def add(self, pairs: Sequence[TrainingPair], outcome: ForcedLabels) -> None:
        """Count a batch under each pair's kind."""
        losses = outcome.cross_entropy.detach().tolist()
        for pair, loss, right in zip(pairs, losses, outcome.correct.tolist(), strict=True):
            self.loss[pair.kind] = self.loss.get(pair.kind, 0.0) + loss
            self.correct[pair.kind] = self.correct.get(pair.kind, 0) + int(right)
            self.count[pair.kind] = self.count.get(pair.kind, 0) + 1

    def kinds(self) -> list[str]:
        """The kinds that were counted, sorted."""
        return sorted(self.count)

    def losses(self) -> dict[str, float | int | str]:
        """`cause_loss`, `isolate_loss`: means over pairs, each only if there were any."""
        return {f"{kind}_loss": self.loss[kind] / self.count[kind] for kind in self.kinds()}

    def accuracies(self) -> dict[str, float]:
        """`cause_accuracy`, `isolate_accuracy`: shares of pairs, each only if there were any."""
        return {f"{kind}_accuracy": self.correct[kind] / self.count[kind] for kind in self.kinds()}

    def mean_loss(self) -> float:
        """Return the mean loss over all pairs, whatever their kind."""
        return sum(self.loss.values()) / sum(self.count.values())

    def accuracy(self) -> float:
        """Return the share of all pairs, whatever their kind, that were right."""
        return sum(self.correct.values()) / sum(self.count.values())


_UNCOUNTED = {"forward": -1, "back": -1}
"""What checkpoints of earlier versions do not say."""


def counters_to(counters: Counters, tally: Tally) -> dict[str, Any]:
    """Return what a checkpoint holds of counters and of the sums since the last row."""
    return {**asdict(counters), "tally": asdict(tally)}


def counters_from(progress: dict[str, Any], folder: Path) -> tuple[Counters, Tally]:
    """Return what `counters_to` was given. Raises SuiteError that names `folder` for anything else."""
    # An earlier version wrote at ends of epochs only, under the number of the epoch.
    early = {"batches": 0, "saves": progress.get("epoch"), "tally": asdict(Tally())}
    progress = {**early, **_UNCOUNTED, **progress}
    tally = progress.pop("tally")
    if not isinstance(tally, dict) or not (_names(Counters, progress) and _names(Tally, tally)):
        raise unusable_checkpoint(folder, "counters of another version")
    todo = f"remove {folder} to start this fit anew"
    return (
        Counters(**typed_values(Counters, progress, origin=str(folder), todo=todo)),
        Tally(**typed_values(Tally, tally, origin=str(folder), todo=todo)),
    )


def _names(record: type[Counters | Tally], values: dict[str, Any]) -> bool:
    """Tell whether the values name the fields of the record, and no others."""
    return values.keys() == {known.name for known in fields(record)}


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
