"""A soft mask over features under training, and how it hardens; it knows neither features nor pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor, nn

from das.featurizers.base import Featurizer
from das.training.trainable import Trainable
from ravel.common.config import Config

TemperatureSchedule = Literal["linear", "geometric"]


class HardeningConfig(Config):
    """How a trained mask hardens."""

    temperature_start: PositiveFloat = 1.0
    """Temperature of the sigmoid before the first step."""
    temperature_end: PositiveFloat = 0.01
    """Temperature from the end of the annealing on; small, so that the soft mask is nearly the hard one."""
    temperature_schedule: TemperatureSchedule = "linear"
    """Between the two: `linear` (reference), or `geometric`, which falls by equal factors."""
    anneal_fraction: float = Field(default=1.0, gt=0.0, le=1.0)
    """Share of all steps over which the temperature goes from start to end (reference: 1)."""

    def temperature(self, done: float) -> float:
        """Return the temperature once the share `done` of all steps is finished."""
        return temperature_at(
            done,
            start=self.temperature_start,
            end=self.temperature_end,
            schedule=self.temperature_schedule,
            anneal_fraction=self.anneal_fraction,
        )


class MaskConfig(HardeningConfig):
    """How a trained mask hardens, and what each feature costs."""

    l1_penalty: NonNegativeFloat = 3e-3
    """What one feature that is on adds to the loss, in nats: the factor of the sum of the soft mask
    (reference: 1e-3 for some thousands of neurons)."""


def temperature_at(
    done: float, *, start: float, end: float, schedule: TemperatureSchedule, anneal_fraction: float
) -> float:
    """Return the temperature once the share `done` of all steps is finished. `start` at 0, `end` from
    `anneal_fraction` on. Between them it is linear, or geometric: `start * (end / start) ** share`."""
    share = min(max(done, 0.0) / anneal_fraction, 1.0)
    if schedule == "linear":
        return start * (1.0 - share) + end * share
    return float(start ** (1.0 - share) * end**share)


class TrainableMask(Trainable):
    """Differential binary masking: one logit per feature, swapped by `sigmoid(logit / temperature)`.

    As in De Cao et al. 2020 (arXiv 2004.14992) and Csordas et al. 2021 (arXiv 2010.02066), and in the DBM and
    MDBM rows of RAVEL (Huang et al. 2024, arXiv 2402.17700). Departures from RAVEL's code: the hard mask is
    taken from the logits at the moment it is asked for, an empty one included, never from an earlier forward
    pass; the temperature is a buffer, out of the optimiser's reach.
    """

    temperature: Tensor
    """The sigmoid's temperature of this moment, a scalar."""

    def __init__(self, make: Callable[[Tensor], Featurizer], n_features: int, config: MaskConfig) -> None:
        """Start with every logit at 0. `make` turns a mask [n_features] with entries from 0 to 1, on the
        device of this module, into the featurizer that swaps by it."""
        super().__init__()
        self._make = make
        self._config = config
        self.logits = nn.Parameter(torch.zeros(n_features))
        self.register_buffer("temperature", torch.tensor(config.temperature_start))

    def soft_mask(self) -> Tensor:
        """Return `sigmoid(logits / temperature)`, [n_features]; carries the gradient."""
        return torch.sigmoid(self.logits / self.temperature)

    def hard_mask(self) -> Tensor:
        """Return 1 where the soft mask exceeds one half (the logit exceeds 0), else 0, [n_features]."""
        return (self.logits.detach() > 0).float()

    def current(self) -> Featurizer:
        """Return the featurizer with the soft mask; gradients flow to `logits`."""
        return self._make(self.soft_mask())

    def evaluated(self) -> Featurizer:
        """Return the featurizer with the hard mask of this moment's logits."""
        with torch.no_grad():
            return self._make(self.hard_mask())

    def penalty(self) -> Tensor:
        """Return `l1_penalty * ||soft mask||_1`, a scalar: the sum over features, so that a feature costs the
        same however many others there are."""
        return self._config.l1_penalty * self.soft_mask().sum()

    def after_step(self, done: float) -> None:
        """Lower the temperature to that of the finished share."""
        self.temperature.fill_(self._config.temperature(done))

    def finished(self) -> Featurizer:
        """Return the featurizer with the hard mask, on the CPU."""
        return self.evaluated().cpu()


def mask_margin(trainable: TrainableMask) -> dict[str, float | int | str]:
    """Return a row of a training log that tells a decided mask from a stuck one: features `on`, mean distance
    of a logit from 0 (`margin`), share of soft masks between 0.1 and 0.9 (`undecided`)."""
    with torch.no_grad():
        soft = trainable.soft_mask()
        return {
            "phase": "mask",
            "on": int(trainable.hard_mask().sum()),
            "margin": float(trainable.logits.abs().mean()),
            "undecided": float(((soft > 0.1) & (soft < 0.9)).float().mean()),
        }
