"""The settings of a training and what it is given to train on; it knows no featurizer and no engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from das.sites import Site
from das.training.objective import LossWeights, TrainingPair
from das.training.schedules import ScheduleName
from ravel.common.config import Config


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
