"""What a training counts on its way: its counters, and sums over pairs between two rows of the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from das.engine.base.labels import ForcedLabels
from das.passes import PassCount
from das.training.checkpoint import unusable_checkpoint
from das.training.objective import TrainingPair
from ravel.common.typed import typed_values


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

    def passes(self) -> PassCount:
        """Return what was judged so far."""
        known = self.forward >= 0
        return PassCount(self.forward, self.back) if known else PassCount(known=False)


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
