"""The ways that are measured against one another, each behind the same two calls: fit and score.

A side returns seconds and pairs of one repeat; it knows nothing of the others.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from cases import SPLIT, Case
from measuring import clocked, synchronised
from public_way import PublicWay
from torch import Tensor

from das.engine import make_engine
from das.engine.base.protocol import Engine
from das.featurizers import Featurizer, Subspace, retract
from das.passes import PassCount
from das.training.config import TrainingConfig, TrainingTask
from das.training.loop import train_featurizer
from das.training.objective import LossWeights
from das.training.trainable import TrainableSubspace
from evaluation.judging.judge import judge
from evaluation.records.scores import Outcome
from ravel.common.seeds import derive_seed

__all__ = ["EngineSide", "PublicSide", "Rates", "Side", "make_side", "start_of"]

Rates = dict[str, float]
"""Pairs per second of one repeat: `whole` as a user has it, and `first` and `later` where they differ."""


def start_of(case: Case, seed: int = 0) -> Tensor:
    """Return columns [d_model, size] to begin at, the same for every side."""
    stream = torch.Generator().manual_seed(derive_seed(seed, "start"))
    return retract(torch.randn(case.target.d_model, case.plan.size, generator=stream))


class Side(Protocol):
    """A way to train and to score."""

    name: str
    """As printed."""

    def fit(self) -> Rates:
        """Train once and return the rates."""
        ...

    def score(self) -> Rates:
        """Judge both answers of pairs once and return the rates."""
        ...


class PublicSide:
    """The public way on some batches: nothing is kept, so that every batch and epoch costs the same."""

    def __init__(self, case: Case, *, pad_to: int = 64, original: bool = False) -> None:
        self.name = "public way"
        self._device = case.target.device
        self._pairs = [pair.forced for pair in case.sampled(case.training)]
        self._asked = case.sampled(case.asked)
        self._original = original
        self.way = PublicWay(
            case.target, case.site, size=case.plan.size, batch_size=case.plan.batch_size, pad_to=pad_to
        )
        """What is measured."""

    def fit(self) -> Rates:
        """Train on one pass of the pairs."""
        with self.way.wrapped() as model:
            seconds, _ = clocked(lambda: self.way.train(model, self._pairs), self._device)
        return {"whole": len(self._pairs) / seconds}

    def score(self) -> Rates:
        """Generate and compare."""
        with self.way.wrapped() as model:
            run = lambda: self.way.judge(model, self._asked, original=self._original)  # noqa: E731
            seconds, _ = clocked(run, self._device)
        return {"whole": len(self._asked) / seconds}


@dataclass(slots=True)
class _EpochClock:
    """Notes when each epoch of a fit is over; keeps no checkpoint and no log."""

    steps: int
    """Steps of an epoch."""
    device: torch.device
    """What has to be waited for."""
    folder: Path | None = None
    """No checkpoints."""
    ends: list[float] | None = None
    """Seconds at the end of each epoch, by the machine's clock."""

    def log(self, row: dict[str, float | int | str]) -> None:
        """Drop the row."""

    def progress(self, done: int, total: int) -> None:
        """Note the time when an epoch's last step is over."""
        self.ends = [] if self.ends is None else self.ends
        if done >= self.steps * (len(self.ends) + 1):
            synchronised(self.device)
            self.ends.append(time.perf_counter())

    def shared(self, key: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Make the tensors."""
        return make()

    def asked(self, passes: PassCount) -> None:
        """Count nothing."""


class EngineSide:
    """One of our engines, through the suite's own training loop and judging."""

    def __init__(self, case: Case, name: str, *, sampled: bool = False) -> None:
        """`sampled` takes as few pairs as the public way and one epoch: for an engine that keeps nothing."""
        self.name = name
        self._case = case
        self._sampled = sampled
        self._training = case.sampled(case.training) if sampled else case.training
        count = case.plan.slow_pairs if sampled else len(case.instance.pairs(SPLIT))
        self._instance = case.part(count)
        self._engine: Engine = self._new_engine()

    def fit(self) -> Rates:
        """Train for all epochs on a new engine: the first epoch fills what it keeps, the others use it."""
        self._engine = self._new_engine()
        epochs = 1 if self._sampled else self._case.plan.epochs
        clock = _EpochClock(self._steps(), self._case.target.device)
        count = len(self._training)
        begin = time.perf_counter()
        seconds, _ = clocked(lambda: self._train(epochs, clock), self._case.target.device)
        rates = {"whole": count * epochs / seconds}
        if epochs > 1 and clock.ends is not None:
            rates["first"] = count / (clock.ends[0] - begin)
            rates["later"] = count * (epochs - 1) / (clock.ends[epochs - 1] - clock.ends[0])
        return rates

    def score(self) -> Rates:
        """Judge on a new engine, which fills what it keeps, then with another subspace."""
        self._engine = self._new_engine()
        count = len(self._instance.pairs(SPLIT))
        seconds = [clocked(lambda s=s: self.outcomes(s), self._case.target.device)[0] for s in (0, 1)]
        if self._sampled:
            return {"whole": count / seconds[0]}
        return {"whole": count / seconds[0], "first": count / seconds[0], "later": count / seconds[1]}

    def outcomes(self, seed: int = 0) -> list[Outcome]:
        """Judge with the subspace of a seed."""
        return self.outcomes_with(Subspace(start_of(self._case, seed)))

    def outcomes_with(self, featurizer: Featurizer) -> list[Outcome]:
        """Judge the pairs of the scored split, all by their tokens, as the public way does."""
        return judge(self._instance, SPLIT, self._engine, self._case.site, featurizer, tolerance=False)

    def fitted(self) -> Featurizer:
        """Return the featurizer after all epochs."""
        return self._train(
            self._case.plan.epochs, _EpochClock(self._steps(), self._case.target.device), rate=1e-2
        )

    def _steps(self) -> int:
        return math.ceil(len(self._training) / self._case.plan.batch_size)

    def _train(self, epochs: int, clock: Any, rate: float = 1e-3) -> Featurizer:
        case = self._case
        trainable = TrainableSubspace(start_of(case)).to(case.target.device)
        task = TrainingTask(
            training=self._training,
            validation=(),
            site=case.site,
            weights=LossWeights(),
            seed=0,
            identity="benchmark",
        )
        config = TrainingConfig(
            epochs=epochs, batch_size=case.plan.batch_size, learning_rate=rate, validation_pairs=0
        )
        return train_featurizer(trainable, task, self._engine, clock, config)

    def _new_engine(self) -> Engine:
        return make_engine(self.name, self._case.target)


def make_side(name: str, case: Case, *, pad_to: int = 64) -> Side:
    """Return a side by name: `public`, `reference`, `direct` or `resume`."""
    if name == "public":
        return PublicSide(case, pad_to=pad_to)
    return EngineSide(case, name, sampled=name == "reference")
