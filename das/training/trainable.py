"""What the training loop asks of a featurizer under training; it knows parameters, no pairs and no model."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from das.featurizers.base import Featurizer
from das.featurizers.orthonormal import retract
from das.featurizers.subspace import Subspace


class Trainable(nn.Module, ABC):
    """A featurizer that still moves: free parameters, and a way from them to a `Featurizer`. Everything that
    training changes must be in `state_dict()`, for checkpoints hold nothing else."""

    @abstractmethod
    def current(self) -> Featurizer:
        """Return the featurizer of this moment, through which gradients reach the parameters."""

    def evaluated(self) -> Featurizer:
        """Return the featurizer to validate: what `finished` would be now, on the parameters' device."""
        return self.current()

    @abstractmethod
    def penalty(self) -> Tensor:
        """Return what is added to the loss, a scalar (0 where there is nothing to punish)."""

    @abstractmethod
    def after_step(self, done: float) -> None:
        """Return to the constraint set and anneal after an optimiser step; `done` is the finished share."""

    @abstractmethod
    def finished(self) -> Featurizer:
        """Return the finished featurizer, on the CPU and without gradients."""


class TrainableSubspace(Trainable):
    """Orthonormal columns under training, as in distributed alignment search (Geiger et al. 2024).

    The parameter `weight` [d_model, size] is put back on the Stiefel manifold after every step, so that its
    scale can't grow and the learning rate keeps its meaning; gradients pass through `retract`, which removes
    the part that would leave the manifold. Departure: the reference keeps torch's orthogonal parametrisation
    of a free matrix.
    """

    within: Tensor | None
    """Orthonormal columns [d_model, n] whose span is not left, of which `weight` [n, size] is a combination;
    None: the whole space."""

    def __init__(self, start: Tensor, within: Tensor | None = None) -> None:
        """Start at the columns that `start` [d_model, size] is retracted to, after a projection to the span
        of `within`."""
        super().__init__()
        self.register_buffer("within", None if within is None else within.detach().float().contiguous())
        free = start.detach().float() if within is None else within.detach().float().mT @ start.float()
        self.weight = nn.Parameter(retract(free).contiguous())

    def current(self) -> Subspace:
        """Return the subspace spanned by the columns; gradients flow to `weight`."""
        columns = retract(self.weight)
        return Subspace(columns if self.within is None else self.within @ columns)

    def penalty(self) -> Tensor:
        """Return 0: a subspace of fixed size needs no penalty."""
        return self.weight.new_zeros(())

    def after_step(self, done: float) -> None:
        """Make the columns orthonormal again."""
        with torch.no_grad():
            self.weight.copy_(retract(self.weight))

    def finished(self) -> Subspace:
        """Return the subspace as it stands, on the CPU."""
        columns = self.weight.detach() if self.within is None else self.within @ self.weight.detach()
        return Subspace(columns.cpu().clone(memory_format=torch.contiguous_format))
