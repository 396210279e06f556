"""A rotation and how many of its first coordinates are swapped, both under training; it knows no pairs."""

from __future__ import annotations

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor, nn

from das.featurizers.masked import MaskedBasis
from das.featurizers.orthonormal import retract
from das.featurizers.subspace import Subspace
from das.training.masks import TemperatureSchedule, temperature_at
from das.training.trainable import Trainable
from ravel.common.config import Config


class BoundaryConfig(Config):
    """How a learned number of coordinates begins, hardens, and what it costs."""

    share_start: float = Field(default=0.5, gt=0.0, le=1.0)
    """Share of the coordinates that lie within the boundary before the first step (reference: 0.5)."""
    temperature_start: PositiveFloat = 0.05
    """Softness of the boundary before the first step, as a share of the width (reference: 50 of 4096)."""
    temperature_end: PositiveFloat = 0.001
    """Softness from the end of the annealing on, as a share of the width (reference: 0.1 of 4096)."""
    temperature_schedule: TemperatureSchedule = "linear"
    """Between the two: `linear` (reference), or `geometric`, which falls by equal factors."""
    anneal_fraction: float = Field(default=1.0, gt=0.0, le=1.0)
    """Share of all steps over which the temperature goes from start to end."""
    width_penalty: NonNegativeFloat = 3.0
    """What swapping every coordinate adds to the loss, in nats; fewer add their share (reference: 1)."""


def boundary_mask(share: Tensor, width: int, temperature: Tensor) -> Tensor:
    """Return `sigmoid((share * width - i - 1/2) / temperature)` for coordinates i from 0, [width]: above one
    half for `share * width` of them. `temperature` is in coordinates."""
    middles = torch.arange(width, dtype=torch.float32, device=share.device) + 0.5
    return torch.sigmoid((share * width - middles) / temperature)


class TrainableBoundary(Trainable):
    """Boundless distributed alignment search (Wu et al. 2023, arXiv 2305.08809): rotation and boundary.

    Coordinates of a full rotation are swapped up to a boundary that is soft at first. Departures: one
    boundary, for the first coordinates, where the reference divides the coordinates among several variables;
    temperatures as shares of the width; the rotation is put back on the manifold by QR.
    """

    temperature: Tensor
    """Softness of the boundary at this moment, in coordinates, a scalar."""

    def __init__(self, start: Tensor, config: BoundaryConfig) -> None:
        """Start at the rotation that `start` [width, width] is retracted to."""
        super().__init__()
        self._config = config
        self.rotation = nn.Parameter(retract(start.detach().float()).contiguous())
        self.share = nn.Parameter(torch.tensor(config.share_start))
        self.register_buffer("temperature", torch.tensor(config.temperature_start * start.shape[0]))

    def current(self) -> MaskedBasis:
        """Return all coordinates with the soft mask; gradients flow to the rotation and the boundary."""
        rotation = retract(self.rotation)
        return MaskedBasis(boundary_mask(self.share, rotation.shape[0], self.temperature), rotation)

    def n_within(self) -> int:
        """Return how many coordinates lie within the boundary: where the soft mask exceeds one half."""
        width = self.rotation.shape[0]
        return int((boundary_mask(self.share.detach(), width, self.temperature) > 0.5).sum())

    def evaluated(self) -> Subspace:
        """Return the subspace of the coordinates within the boundary of this moment; it may be empty."""
        return Subspace(
            self.rotation.detach()[:, : self.n_within()].clone(memory_format=torch.contiguous_format)
        )

    def penalty(self) -> Tensor:
        """Return `width_penalty` times the share of coordinates within the boundary, a scalar."""
        return self._config.width_penalty * self.share

    def after_step(self, done: float) -> None:
        """Make the rotation orthonormal again, keep the boundary in the width, and sharpen it."""
        with torch.no_grad():
            self.rotation.copy_(retract(self.rotation))
            self.share.clamp_(0.0, 1.0)
        temperature = temperature_at(
            done,
            start=self._config.temperature_start,
            end=self._config.temperature_end,
            schedule=self._config.temperature_schedule,
            anneal_fraction=self._config.anneal_fraction,
        )
        self.temperature.fill_(temperature * self.rotation.shape[0])

    def finished(self) -> Subspace:
        """Return the subspace within the boundary, on the CPU."""
        return Subspace(self.evaluated().basis.cpu())
