"""The one training loop: a trainable gives the featurizer, an engine judges labels, a workspace is told. A
training is a generator, so that several can go on side by side in the same passes of the model."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, optim

from das.engine.base.labels import ForcedLabels
from das.engine.base.protocol import Engine, FeaturizedPairs
from das.featurizers.base import Featurizer
from das.training.batches import batches
from das.training.checkpoint import (
    optimiser_tensors,
    read_checkpoint,
    restore_optimiser,
    take_prefix,
    unusable_checkpoint,
    with_prefix,
    write_checkpoint,
)
from das.training.config import TrainingConfig, TrainingTask
from das.training.objective import TrainingPair, pooled_loss
from das.training.progress import Counters, Tally, counters_from, counters_to
from das.training.schedules import learning_rate_at
from das.training.together import JudgeRequest, Training, train_together
from das.training.trainable import Trainable
from das.training.workspace import Workspace
from ravel.common.errors import SuiteError
from ravel.common.seeds import python_stream

_CHECKPOINT_SECONDS = 60.0
"""Seconds after which a step ends in a checkpoint though its epoch goes on."""


def train_featurizer(
    trainable: Trainable, task: TrainingTask, engine: Engine, workspace: Workspace, config: TrainingConfig
) -> Featurizer:
    """Train and return the finished featurizer of the best epoch; see `training`."""
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


@dataclass
class _Run:
    """One call of `training`: the mutable state that its steps share."""

    trainable: Trainable
    task: TrainingTask
    engine: Engine
    workspace: Workspace
    config: TrainingConfig

    def __post_init__(self) -> None:
        config = self.config
        self.steps = config.epochs * math.ceil(len(self.task.training) / config.batch_size)
        self.optimiser = optim.AdamW(
            self.trainable.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.counters = Counters()
        self.tally = Tally()
        self.best: dict[str, Tensor] = {}
        self.saved_at = time.monotonic()

    def finish(self) -> Training[Featurizer]:
        """Resume if there is something to resume, train to the end, return the best."""
        self._resume()
        self.engine.prefill([pair.forced for pair in self.task.training], self.task.site)
        while self.counters.batches or (
            self.counters.epoch < self.config.epochs and self.counters.stale < self.config.patience
        ):
            yield from self._train_epoch()
            yield from self._validate()
            self._save()
        self.workspace.progress(self.steps, self.steps)
        self.workspace.asked(self.counters.passes())
        self.trainable.load_state_dict(self.best)
        return self.trainable.finished()

    def _train_epoch(self) -> Training[None]:
        """Train an epoch, or what is left of one that was interrupted."""
        self.counters.epoch += not self.counters.batches
        stream = python_stream(self.task.seed, "order", str(self.counters.epoch - 1))
        order = batches(self._lengths(self.task.training), self.config.batch_size, stream)
        for batch in order[self.counters.batches :]:
            yield from self._step([self.task.training[index] for index in batch])
            self.counters.batches += 1
            if len(self.tally.batch_losses) == self.config.log_every:
                self._log_training()
            self.workspace.progress(self.counters.step, self.steps)
            if time.monotonic() - self.saved_at >= _CHECKPOINT_SECONDS:
                self._save()
        if self.tally.batch_losses:
            self._log_training()
        self.counters.batches = 0

    def _step(self, pairs: Sequence[TrainingPair]) -> Training[None]:
        tally = self.tally
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
        self.counters.step += 1
        self.trainable.after_step(self.counters.step / self.steps)

    def _lengths(self, pairs: Sequence[TrainingPair]) -> list[int]:
        return self.engine.tokens_after([pair.forced for pair in pairs], self.task.site)

    def _ask(
        self, pairs: Sequence[TrainingPair], featurizer: Featurizer, *, learns: bool
    ) -> Training[ForcedLabels]:
        group = FeaturizedPairs([pair.forced for pair in pairs], featurizer)
        parameters = tuple(self.trainable.parameters()) if learns else ()
        self.counters.count(len(pairs), back=learns)
        outcome = yield JudgeRequest(group, self.task.site, learns, parameters)
        assert outcome is not None
        return outcome

    def _rate(self) -> float:
        return learning_rate_at(
            self.counters.step,
            peak=self.config.learning_rate,
            total_steps=self.steps,
            warmup_fraction=self.config.warmup_fraction,
            schedule=self.config.schedule,
        )

    def _finite(self, loss: float) -> float:
        if not math.isfinite(loss):
            raise SuiteError(
                expected=f"a finite loss at training step {self.counters.step + 1}",
                came=str(loss),
                todo="lower learning_rate, or load the model in float32",
            )
        return loss

    def _log_training(self) -> None:
        """Log what was counted since the last row, and count anew."""
        tally, self.tally = self.tally, Tally()
        self._log(
            {
                "phase": "train",
                "step": self.counters.step,
                "epoch": self.counters.epoch,
                "loss": sum(tally.batch_losses) / len(tally.batch_losses),
                **tally.losses(),
                "accuracy": tally.accuracy(),
                "lr": tally.rate,
            }
        )

    def _log(self, row: dict[str, float | int | str]) -> None:
        self.counters.rows.append(row)
        self.workspace.log(row)

    def _validate(self) -> Training[None]:
        """Keep this epoch if it is the best so far; without validation pairs the latest is."""
        if not self.task.validation:
            self._keep()
            return
        tally = yield from self._validation_tally()
        accuracies = tally.accuracies()
        accuracy = sum(accuracies.values()) / len(accuracies)
        loss = self._finite(tally.mean_loss())
        better = (accuracy, -loss) > (self.counters.best_accuracy, -self.counters.best_loss)
        if better:
            self.counters.best_accuracy, self.counters.best_loss = accuracy, loss
            self._keep()
        else:
            self.counters.stale += 1
        self._log(
            {
                "phase": "validation",
                "step": self.counters.step,
                "epoch": self.counters.epoch,
                "loss": loss,
                **tally.losses(),
                "accuracy": accuracy,
                **accuracies,
                "kept": int(better),
            }
        )

    def _validation_tally(self) -> Training[Tally]:
        tally = Tally()
        lengths = self._lengths(self.task.validation)
        pairs = [self.task.validation[i] for i in sorted(range(len(lengths)), key=lengths.__getitem__)]
        with torch.no_grad():
            featurizer = self.trainable.evaluated()
        size = 4 * self.config.batch_size
        for start in range(0, len(pairs), size):
            batch = pairs[start : start + size]
            outcome = yield from self._ask(batch, featurizer, learns=False)
            tally.add(batch, outcome)
        return tally

    def _keep(self) -> None:
        self.counters.best_epoch, self.counters.stale = self.counters.epoch, 0
        self.best = {name: tensor.detach().clone() for name, tensor in self.trainable.state_dict().items()}

    def _save(self) -> None:
        self.saved_at = time.monotonic()
        if self.workspace.folder is None:
            return
        self.counters.saves += 1
        tensors = {
            **with_prefix("trainable", self.trainable.state_dict()),
            **with_prefix("best", self.best),
            **with_prefix("optimiser", optimiser_tensors(self.optimiser)),
        }
        write_checkpoint(
            self.workspace.folder,
            identity=self.task.identity,
            number=self.counters.saves,
            tensors=tensors,
            progress=counters_to(self.counters, self.tally),
        )

    def _resume(self) -> None:
        folder = self.workspace.folder
        stored = None if folder is None else read_checkpoint(folder, identity=self.task.identity)
        if folder is None or stored is None:
            return
        tensors, progress = stored
        try:
            self._restore(tensors, kept=bool(progress.get("best_epoch")))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise unusable_checkpoint(folder, f"tensors that do not fit ({reason})") from None
        self.counters, self.tally = counters_from(progress, folder)
        if not 1 <= self.counters.epoch <= self.config.epochs:
            raise unusable_checkpoint(folder, f"a checkpoint after {self.counters.epoch} epochs")
        for row in self.counters.rows:
            self.workspace.log(row)

    def _restore(self, tensors: dict[str, Tensor], *, kept: bool) -> None:
        """Put parameters, optimiser and the best epoch, if one was `kept` already, where they were."""
        # The best is loaded first: it must fit as well, and would otherwise be looked at in the end only.
        self.best = take_prefix("best", tensors)
        if self.best or kept:
            self.trainable.load_state_dict(self.best)
        self.trainable.load_state_dict(take_prefix("trainable", tensors))
        restore_optimiser(self.optimiser, take_prefix("optimiser", tensors))
