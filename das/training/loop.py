"""The one training loop: a trainable gives the featurizer, an engine judges labels, a workspace is told.

A training is a generator that says what it wants judged next, so that several can go on side by side in the
same passes of the model. It knows no method, no model and no instance.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import Any, TypeAlias, TypeVar

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, optim

from das.engine.base.backward import add_gradients
from das.engine.base.labels import ForcedLabels
from das.engine.base.protocol import Engine, FeaturizedPairs
from das.featurizers.base import Featurizer
from das.sites import Site
from das.training.checkpoint import (
    optimiser_tensors,
    read_checkpoint,
    restore_optimiser,
    take_prefix,
    unusable_checkpoint,
    with_prefix,
    write_checkpoint,
)
from das.training.objective import LossWeights, TrainingPair, pooled_loss
from das.training.schedules import ScheduleName, learning_rate_at
from das.training.trainable import Trainable
from das.training.workspace import Workspace
from ravel.common.config import Config
from ravel.common.errors import SuiteError
from ravel.common.seeds import python_stream
from ravel.common.typed import typed_values

__all__ = [
    "Ask",
    "Training",
    "TrainingConfig",
    "TrainingTask",
    "batches",
    "train_featurizer",
    "train_together",
    "training",
]

_CHECKPOINT_SECONDS = 60.0
"""Seconds after which a step ends in a checkpoint though its epoch goes on."""
_POOL = 16
"""Batches that are sorted by length together: enough to leave little padding, few enough to stay mixed."""


class TrainingConfig(Config):
    """Settings of every trained method; reference values are those of the RAVEL repository's demos."""

    epochs: PositiveInt = 3
    """Most passes over the training pairs; early stopping may end sooner (reference: 3, never sooner)."""
    batch_size: PositiveInt = 32
    """Pairs per optimiser step (reference: 16)."""
    learning_rate: PositiveFloat = 1e-2
    """Peak rate of AdamW (reference: 1e-4, which needs tens of thousands of steps)."""
    weight_decay: NonNegativeFloat = 0.0
    """Decoupled weight decay of AdamW (reference: 0)."""
    schedule: ScheduleName = "cosine"
    """Learning rate after the warm-up: `constant` (reference), `linear` or `cosine` down to 0."""
    warmup_fraction: float = Field(default=0.05, ge=0.0, lt=1.0)
    """Share of all steps over which the rate rises linearly (reference: 0)."""
    label_tokens: PositiveInt = 3
    """How many of a label's first tokens are forced and trained on (reference: 3)."""
    validation_pairs: NonNegativeInt = 200
    """Most validation pairs of the target attribute and of each other one; 0 switches early stopping off."""
    patience: PositiveInt = 2
    """Epochs without a better validation score after which training stops."""
    log_every: PositiveInt = 10
    """Steps per row of the training log."""


@dataclass(frozen=True, slots=True)
class TrainingTask:
    """What is trained on, and under which name the fit can be resumed."""

    training: Sequence[TrainingPair]
    """Pairs to train on; at least one."""
    validation: Sequence[TrainingPair]
    """Pairs that choose the epoch; empty keeps the last one."""
    site: Site
    """Where the featurizer acts."""
    weights: LossWeights
    """How much a pair of each kind counts."""
    seed: int
    """Seed of the batch order."""
    identity: str
    """Hash of all that determines the result; a checkpoint with another one is refused."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a training wants judged next."""

    group: FeaturizedPairs
    """The pairs and the featurizer of the moment."""
    site: Site
    """Where the featurizer acts."""
    learns: bool
    """Whether the answer must carry a gradient: then the training gives its loss next, a scalar, and goes on
    once that has been sent back through the featurizer."""
    parameters: tuple[Tensor, ...] = ()
    """What is learned: where the gradient goes."""


Found = TypeVar("Found")
Training: TypeAlias = Generator["Ask | Tensor", "ForcedLabels | None", Found]
"""A training that goes on by itself but for what it asks, and returns what it found."""


def train_featurizer(
    trainable: Trainable, task: TrainingTask, engine: Engine, workspace: Workspace, config: TrainingConfig
) -> Featurizer:
    """Train and return the finished featurizer of the epoch that was best on the validation pairs; see
    `training`."""
    return train_together([training(trainable, task, engine, workspace, config)], engine)[0]


def training(
    trainable: Trainable, task: TrainingTask, engine: Engine, workspace: Workspace, config: TrainingConfig
) -> Training[Featurizer]:
    """Train, asking for judgements; return the finished featurizer of the best epoch.

    Best is the highest mean of cause and isolate accuracy (of those kinds that are there), ties broken by the
    lower validation loss, then by the earlier epoch. With `workspace.folder` set, each epoch ends in a
    checkpoint there, and in a long one a step every minute; a later call with the same `task.identity` goes
    on from it and returns the same featurizer, to the byte. Raises SuiteError if the loss is no longer
    finite, or for a checkpoint of another fit.
    """
    return (yield from _Run(trainable, task, engine, workspace, config).finish())


def train_together(trainings: Sequence[Training[Found]], engine: Engine) -> list[Found]:
    """Run trainings side by side, what they ask at one site in one go; return what they found, in order.

    A step for which memory does not suffice, on the way there or back, is done again in smaller passes; no
    part of a gradient is left over.

    Each result is what the training alone would come to: a group of pairs is judged as it would be by itself,
    and no gradient of one reaches another (to the byte where the engine says so).
    """
    found: dict[int, Found] = {}
    asks: dict[int, Ask] = {}

    def go_on(index: int, answer: ForcedLabels | None) -> Tensor | None:
        """Return the loss if the training gives one now; note what it asks or what it found."""
        try:
            said = trainings[index].send(answer)
        except StopIteration as end:
            found[index] = end.value
            return None
        if isinstance(said, Tensor):
            return said
        asks[index] = said
        return None

    for index in range(len(trainings)):
        go_on(index, None)
    while asks:
        now, asks = asks, {}
        for site, learns in dict.fromkeys((ask.site, ask.learns) for ask in now.values()):
            together = [i for i, ask in now.items() if (ask.site, ask.learns) == (site, learns)]
            judge = partial(engine.forced_labels, [now[i].group for i in together], site)
            if not learns:
                with torch.no_grad():
                    answers = judge()
                for i, answer in zip(together, answers, strict=True):
                    go_on(i, answer)
                continue
            with torch.enable_grad():
                answers = judge()
                cut = [_cut_off(labels) for labels in answers]
                losses = [go_on(i, answer) for i, answer in zip(together, cut, strict=True)]
                for loss in losses:
                    if loss is not None:
                        loss.backward()
                slopes = [_slope(answer.cross_entropy) for answer in cut]
                parameters = [p for i in together for p in now[i].parameters]
                add_gradients(engine, answers, slopes, parameters, judge)
            for i, loss in zip(together, losses, strict=True):
                if loss is not None:
                    go_on(i, None)
    return [found[index] for index in range(len(trainings))]


def _cut_off(labels: ForcedLabels) -> ForcedLabels:
    """Return the same labels with a leaf for their cross entropy: the way back from a loss ends there."""
    return ForcedLabels(labels.cross_entropy.detach().requires_grad_(), labels.correct)


def _slope(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def batches(lengths: Sequence[int], batch_size: int, stream: random.Random) -> list[list[int]]:
    """Return the indices of pairs in shuffled batches, each index once, sizes as even as can be.

    Pairs are shuffled, sorted by `lengths` (tokens from the site on) within pools of a few batches, cut, and
    the batches shuffled again: little padding, yet mixed batches. No pair is dropped.
    """
    order = list(range(len(lengths)))
    stream.shuffle(order)
    pool = batch_size * _POOL
    pooled = [
        index
        for start in range(0, len(order), pool)
        for index in sorted(order[start : start + pool], key=lambda i: lengths[i])
    ]
    cut = _cut(pooled, batch_size)
    stream.shuffle(cut)
    return cut


def _cut(indices: list[int], batch_size: int) -> list[list[int]]:
    count = math.ceil(len(indices) / batch_size)
    return [indices[len(indices) * i // count : len(indices) * (i + 1) // count] for i in range(count)]


@dataclass(slots=True)
class _Progress:
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
    rows: list[dict[str, float | int | str]] = field(default_factory=list)
    """Every row logged."""


@dataclass(slots=True)
class _Tally:
    """Sums over pairs between two rows of the log."""

    batch_losses: list[float] = field(default_factory=list)
    loss: dict[str, float] = field(default_factory=dict)
    correct: dict[str, int] = field(default_factory=dict)
    count: dict[str, int] = field(default_factory=dict)
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


class _Run:
    """One call of `train_featurizer`: the mutable state that its steps share."""

    def __init__(
        self,
        trainable: Trainable,
        task: TrainingTask,
        engine: Engine,
        workspace: Workspace,
        config: TrainingConfig,
    ) -> None:
        self.trainable = trainable
        self.task = task
        self.engine = engine
        self.workspace = workspace
        self.config = config
        self.steps = config.epochs * math.ceil(len(task.training) / config.batch_size)
        self.optimiser = optim.AdamW(
            trainable.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.state = _Progress()
        self.tally = _Tally()
        self.best: dict[str, Tensor] = {}
        self.saved_at = time.monotonic()

    def finish(self) -> Training[Featurizer]:
        """Resume if there is something to resume, train to the end, return the best."""
        self._resume()
        self.engine.run_ahead([pair.forced for pair in self.task.training], self.task.site)
        while self.state.batches or (
            self.state.epoch < self.config.epochs and self.state.stale < self.config.patience
        ):
            yield from self._train_epoch()
            yield from self._validate()
            self._save()
        self.workspace.progress(self.steps, self.steps)
        self.trainable.load_state_dict(self.best)
        return self.trainable.finished()

    def _train_epoch(self) -> Training[None]:
        """Train an epoch, or what is left of one that was interrupted."""
        self.state.epoch += not self.state.batches
        stream = python_stream(self.task.seed, "order", str(self.state.epoch - 1))
        order = batches(self._lengths(self.task.training), self.config.batch_size, stream)
        for batch in order[self.state.batches :]:
            yield from self._step([self.task.training[index] for index in batch], self.tally)
            self.state.batches += 1
            if len(self.tally.batch_losses) == self.config.log_every:
                self._log_training(self.tally)
                self.tally = _Tally()
            self.workspace.progress(self.state.step, self.steps)
            if time.monotonic() - self.saved_at >= _CHECKPOINT_SECONDS:
                self._save()
        if self.tally.batch_losses:
            self._log_training(self.tally)
            self.tally = _Tally()
        self.state.batches = 0

    def _step(self, pairs: Sequence[TrainingPair], tally: _Tally) -> Training[None]:
        tally.rate = self._rate()
        for group in self.optimiser.param_groups:
            group["lr"] = tally.rate
        with torch.enable_grad():
            featurizer = self.trainable.current()
        outcome = yield from self._ask(pairs, featurizer, learns=True)
        with torch.enable_grad():
            loss = pooled_loss(outcome.cross_entropy, self.task.weights.of(pairs)) + self.trainable.penalty()
        self.optimiser.zero_grad(set_to_none=True)
        yield loss
        tally.batch_losses.append(self._finite(float(loss.detach())))
        tally.add(pairs, outcome)
        self.optimiser.step()
        self.state.step += 1
        self.trainable.after_step(self.state.step / self.steps)

    def _lengths(self, pairs: Sequence[TrainingPair]) -> list[int]:
        return self.engine.tokens_after([pair.forced for pair in pairs], self.task.site)

    def _ask(
        self, pairs: Sequence[TrainingPair], featurizer: Featurizer, *, learns: bool
    ) -> Training[ForcedLabels]:
        group = FeaturizedPairs([pair.forced for pair in pairs], featurizer)
        parameters = tuple(self.trainable.parameters()) if learns else ()
        outcome = yield Ask(group, self.task.site, learns, parameters)
        assert outcome is not None
        return outcome

    def _rate(self) -> float:
        return learning_rate_at(
            self.state.step,
            peak=self.config.learning_rate,
            total_steps=self.steps,
            warmup_fraction=self.config.warmup_fraction,
            schedule=self.config.schedule,
        )

    def _finite(self, loss: float) -> float:
        if not math.isfinite(loss):
            raise SuiteError(
                expected=f"a finite loss at training step {self.state.step + 1}",
                came=str(loss),
                todo="lower learning_rate, or load the model in float32",
            )
        return loss

    def _log_training(self, tally: _Tally) -> None:
        self._log(
            {
                "phase": "train",
                "step": self.state.step,
                "epoch": self.state.epoch,
                "loss": sum(tally.batch_losses) / len(tally.batch_losses),
                **tally.losses(),
                "accuracy": sum(tally.correct.values()) / sum(tally.count.values()),
                "lr": tally.rate,
            }
        )

    def _log(self, row: dict[str, float | int | str]) -> None:
        self.state.rows.append(row)
        self.workspace.log(row)

    def _validate(self) -> Training[None]:
        """Keep this epoch if it is the best so far; without validation pairs the latest is."""
        if not self.task.validation:
            self._keep()
            return
        tally = yield from self._validation_tally()
        accuracies = tally.accuracies()
        accuracy = sum(accuracies.values()) / len(accuracies)
        loss = self._finite(sum(tally.loss.values()) / sum(tally.count.values()))
        better = (accuracy, -loss) > (self.state.best_accuracy, -self.state.best_loss)
        if better:
            self.state.best_accuracy, self.state.best_loss = accuracy, loss
            self._keep()
        else:
            self.state.stale += 1
        self._log(
            {
                "phase": "validation",
                "step": self.state.step,
                "epoch": self.state.epoch,
                "loss": loss,
                **tally.losses(),
                "accuracy": accuracy,
                **accuracies,
                "kept": int(better),
            }
        )

    def _validation_tally(self) -> Training[_Tally]:
        tally = _Tally()
        lengths = self._lengths(self.task.validation)
        pairs = [self.task.validation[i] for i in sorted(range(len(lengths)), key=lengths.__getitem__)]
        with torch.no_grad():
            featurizer = self.trainable.evaluated()
        for batch in _chunks(pairs, 4 * self.config.batch_size):
            outcome = yield from self._ask(batch, featurizer, learns=False)
            tally.add(batch, outcome)
        return tally

    def _keep(self) -> None:
        self.state.best_epoch, self.state.stale = self.state.epoch, 0
        self.best = {name: tensor.detach().clone() for name, tensor in self.trainable.state_dict().items()}

    def _save(self) -> None:
        self.saved_at = time.monotonic()
        if self.workspace.folder is None:
            return
        self.state.saves += 1
        tensors = {
            **with_prefix("trainable", self.trainable.state_dict()),
            **with_prefix("best", self.best),
            **with_prefix("optimiser", optimiser_tensors(self.optimiser)),
        }
        write_checkpoint(
            self.workspace.folder,
            identity=self.task.identity,
            number=self.state.saves,
            tensors=tensors,
            progress={**asdict(self.state), "tally": asdict(self.tally)},
        )

    def _resume(self) -> None:
        if self.workspace.folder is None:
            return
        found = read_checkpoint(self.workspace.folder, identity=self.task.identity)
        if found is None:
            return
        tensors, progress = found
        folder = self.workspace.folder
        try:
            # The best is loaded first: it must fit as well, and would otherwise be looked at in the end only.
            # Within the first epoch there is none yet.
            self.best = take_prefix("best", tensors)
            if self.best or progress.get("best_epoch"):
                self.trainable.load_state_dict(self.best)
            self.trainable.load_state_dict(take_prefix("trainable", tensors))
            restore_optimiser(self.optimiser, take_prefix("optimiser", tensors))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise unusable_checkpoint(folder, f"tensors that do not fit ({reason})") from None
        # An earlier version wrote at ends of epochs only, under the number of the epoch.
        progress = {"batches": 0, "saves": progress.get("epoch"), "tally": asdict(_Tally()), **progress}
        tally = progress.pop("tally")
        if not isinstance(tally, dict) or not (_names(_Progress, progress) and _names(_Tally, tally)):
            raise unusable_checkpoint(folder, "counters of another version")
        todo = f"remove {folder} to start this fit anew"
        self.state = _Progress(**typed_values(_Progress, progress, origin=str(folder), todo=todo))
        self.tally = _Tally(**typed_values(_Tally, tally, origin=str(folder), todo=todo))
        if not 1 <= self.state.epoch <= self.config.epochs:
            raise unusable_checkpoint(folder, f"a checkpoint after {self.state.epoch} epochs")
        for row in self.state.rows:
            self.workspace.log(row)


def _names(record: type[_Progress | _Tally], values: dict[str, Any]) -> bool:
    """Tell whether the values name the fields of the record, and no others."""
    return values.keys() == {known.name for known in fields(record)}


def _chunks(pairs: Sequence[TrainingPair], size: int) -> Iterator[Sequence[TrainingPair]]:
    for start in range(0, len(pairs), size):
        yield pairs[start : start + size]
