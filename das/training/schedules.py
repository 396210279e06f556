"""Learning-rate schedules as pure functions of the step; they know no optimiser and no model."""

from __future__ import annotations

import math
from typing import Literal

ScheduleName = Literal["constant", "linear", "cosine"]


def warmup_steps(total_steps: int, fraction: float) -> int:
    """Return how many of `total_steps` warm up: the fraction rounded down, and never all of them."""
    return min(int(total_steps * fraction), max(total_steps - 1, 0))


def learning_rate_at(
    step: int, *, peak: float, total_steps: int, warmup_fraction: float, schedule: ScheduleName
) -> float:
    """Return the learning rate of step `step` of `total_steps`, from 0: over the warm-up `peak * (step + 1) /
    (warm-up + 1)`; then `peak`, or falling towards the 0 that the step after the last would have."""
    warmup = warmup_steps(total_steps, warmup_fraction)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    if schedule == "constant":
        return peak
    done = min((step - warmup) / max(total_steps - warmup, 1), 1.0)
    if schedule == "linear":
        return peak * (1.0 - done)
    return peak * 0.5 * (1.0 + math.cos(math.pi * done))
