"""What trains a vector for each value by what the model says where it is added; by which objective is not
known here."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from typing_extensions import TypeVar

from das.detectors.directions import Directions
from das.edits.forms import Addition
from das.engine.base.protocol import Engine
from das.methods.common.alignment import fit_seed
from das.methods.common.base import Problem, Workspace
from das.methods.common.concepts import concept_vectors
from das.methods.common.edit_objectives import Objective, loss_by
from das.methods.common.edit_training import EditTrainingConfig, MovingEdit, steering_lessons, train_edit
from das.methods.detection._directions import FindsDetector

_START = 0.01
"""Standard deviation of a vector's numbers before training."""

VectorSettings = TypeVar("VectorSettings", bound=EditTrainingConfig, covariant=True)


class MovingVectors(MovingEdit):
    """A vector for each value under training."""

    def __init__(self, attribute: str, values: Sequence[str], vectors: Tensor, unit: float = 1.0) -> None:
        """Begin with these vectors, [d_model, n_values], whose numbers count in `unit`."""
        super().__init__(attribute, values)
        self.vectors = nn.Parameter(vectors)
        """One column per value, [d_model, n_values], in units."""
        self.unit = unit
        """What a number of them is worth, so that a learning rate means the same at every site."""

    @property
    def scaled(self) -> Tensor:
        """The vectors of this moment as they are added, [d_model, n_values]."""
        return self.vectors * self.unit

    def edit(self) -> Addition:
        """Return the edit of this moment."""
        return Addition(self.attribute, self.values, self.scaled)

    def found(self) -> Directions:
        """Return the vectors as directions to scale, finished."""
        vectors = self.scaled.detach().cpu()
        return Directions(self.attribute, self.values, vectors, to_scale=True)


class TrainsVectors(FindsDetector[VectorSettings]):
    """A method that finds vectors which steer as they were trained, and are read as directions. They are
    learned in units of the deviation of the training vectors at the site, whatever its scale."""

    needs_pairs = True
    draws = True

    @abstractmethod
    def objective(self) -> Objective:
        """Return by what it is trained."""

    def started(self, attribute: str, values: Sequence[str], vectors: Tensor, unit: float) -> MovingVectors:
        """Return what is trained, before training, from small random vectors [d_model, n_values] in units."""
        return MovingVectors(attribute, values, vectors, unit)

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Directions:
        """Return `Directions` to scale. Raises what `concepts` raises."""
        told = self.concepts(problem, workspace).values
        seed, width = fit_seed(self, problem), engine.target.width(problem.site)
        lessons = steering_lessons(problem, told, self.config, seed)
        start = started_vectors(width, len(told), seed).to(engine.target.device)
        known = concept_vectors(problem.instance, problem.attribute, problem.site, engine)
        moving = self.started(problem.attribute, told, start, deviation_of(known.vectors))
        loss_of = loss_by(self.objective(), moving, lessons, engine=engine, site=problem.site, seed=seed)
        train_edit(moving, lessons, loss_of, self.config, seed=seed, workspace=workspace)
        return self.finished(moving)

    def finished(self, moving: MovingVectors) -> Directions:
        """Return what was trained as directions."""
        return moving.found()


def deviation_of(vectors: Tensor) -> float:
    """Return the root mean square of what vectors [n, d] have beyond their mean in a coordinate."""
    return float(vectors.double().var(dim=0, correction=0).mean().sqrt())


def started_vectors(width: int, n_values: int, seed: int) -> Tensor:
    """Return small random vectors, [d_model, n_values]."""
    return _START * torch.randn(width, n_values, generator=torch.Generator().manual_seed(seed))
