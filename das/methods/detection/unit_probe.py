"""AxBench's probe: a logistic direction of length 1 for each value, by gradient steps."""

from __future__ import annotations

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional

from das.methods.common.alignment import fit_seed
from das.methods.common.base import Problem
from das.methods.detection._directions import ConceptConfig, FindsDirections


class UnitProbeConfig(ConceptConfig):
    """Settings of unit_probe; the defaults are AxBench's, but for vectors and epochs."""

    vectors: PositiveInt = 2000
    """Most training vectors; a larger population is sampled, always the same (reference: every token of 144
    texts)."""
    learning_rate: PositiveFloat = 5e-3
    """Rate of AdamW."""
    weight_decay: NonNegativeFloat = 1e-3
    """Weight decay of AdamW."""
    epochs: PositiveInt = 6
    """Passes over the vectors (reference: 24)."""
    batch_size: PositiveInt = 12
    """Vectors per step."""


class UnitProbe(FindsDirections[UnitProbeConfig]):
    """Probe of AxBench (Wu et al. 2025, arXiv 2501.17148): cross entropy of `sigmoid(h w)`, w of length 1
    after each step, the part of the gradient along w taken out before it. Departures: one vector per prompt;
    all values of an attribute are trained on the same batches, positives against all others.
    """

    name = "unit_probe"
    summary = "Tells a value by a logistic direction of length 1, as AxBench trains it"
    config_class = UnitProbeConfig
    draws = True

    def readers(self, vectors: Tensor, has: Tensor, problem: Problem) -> Tensor:
        """Return the directions."""
        return train_unit_directions(vectors, has, self.config, fit_seed(self, problem))


def train_unit_directions(vectors: Tensor, has: Tensor, config: UnitProbeConfig, seed: int) -> Tensor:
    """Return a direction of length 1 for each value, [d, n_values], of vectors [n, d] and who has which
    value, bool [n, n_values]."""
    stream = torch.Generator().manual_seed(seed)
    width, n_values = vectors.shape[1], has.shape[1]
    directions = torch.nn.Parameter(unit_columns(torch.randn(width, n_values, generator=stream)))
    optimiser = torch.optim.AdamW([directions], lr=config.learning_rate, weight_decay=config.weight_decay)
    wanted = has.float()
    with torch.enable_grad():
        for _ in range(config.epochs):
            for rows in torch.randperm(len(vectors), generator=stream).split(config.batch_size):
                optimiser.zero_grad()
                scores = vectors[rows] @ directions
                loss = functional.binary_cross_entropy_with_logits(scores, wanted[rows], reduction="none")
                # Each value has a direction of its own, so that their losses add up.
                loss.mean(dim=0).sum().backward()  # type: ignore[no-untyped-call]  # torch has none
                step_on_sphere(directions, optimiser)
    return directions.detach()


def step_on_sphere(directions: torch.nn.Parameter, optimiser: torch.optim.Optimizer) -> None:
    """Step columns [d, n] of length 1 along their gradient less its part along them, and make their length 1
    again."""
    assert directions.grad is not None
    with torch.no_grad():
        along = (directions.grad * directions).sum(dim=0)
        directions.grad -= along * directions
        optimiser.step()
        directions.copy_(unit_columns(directions))


def unit_columns(columns: Tensor) -> Tensor:
    """Return columns [d, n] divided by their lengths."""
    found: Tensor = columns / columns.norm(dim=0).clamp_min(1e-12)
    return found


METHOD = UnitProbe
