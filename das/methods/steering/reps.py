"""RePS: a vector for each value by which its answer is preferred, and without which the model's own."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field
from torch import Tensor, nn

from das.detectors.directions import Directions
from das.edits.base import Edit
from das.edits.forms import Addition, Null
from das.methods.common import edit_objectives as objectives
from das.methods.common.edit_training import EditTrainingConfig
from das.methods.detection._trained_vectors import MovingVectors, TrainsVectors


class RepsConfig(EditTrainingConfig):
    """Settings of reps."""

    isolate_pairs: int = Field(default=0, ge=0)
    """Most prompts of the other attributes on which the model's own answer is to be preferred, steered or
    nulled; 0: a single task, as published."""
    factors: tuple[objectives.Factor, ...] = Field(objectives.FACTORS, min_length=1)
    """Strengths of which one is drawn at each step, all alike."""
    lengths: objectives.Lengths = "response"
    """What the log-probability of an answer is divided by: the number of its tokens, or that with the
    prompt's, as the reference code has it (`prompt_and_response`)."""


class Reps(TrainsVectors[RepsConfig]):
    """The vector of RePS (Wu et al. 2025, arXiv 2505.20809), w and b for each value. Steered by a factor a,
    `h + (a + b) w`, the value's answer is preferred to the model's own; nulled, `h - ReLU(w h + b) w /
    |w|^2`, the model's own is. Which of the two is done is said by name, never by a factor of 0.

    It is read as the direction w with the level -b, and steers to scale: strength 1 is the mean of the
    factors. Departures: it acts at the site and on no other token; one factor is drawn per step, for both
    answers; factors are those of the reference's low-rank forms, for the length of w is free; answers are
    counted in their own tokens (`lengths`); isolate prompts can be added.
    """

    name = "reps"
    summary = "Vector for each value by which its answer is preferred, and without which the model's own"
    config_class = RepsConfig

    def started(self, attribute: str, values: Sequence[str], vectors: Tensor, unit: float) -> MovingReps:
        """Return w and b before training."""
        return MovingReps(attribute, values, vectors, unit)

    def objective(self) -> objectives.Reps:
        """Return RePS's."""
        return objectives.Reps(self.config.factors, self.config.lengths)

    def finished(self, moving: MovingVectors) -> Directions:
        """Return w as readers, b, and `(a + b) w` with the mean factor a as writers."""
        assert isinstance(moving, MovingReps)
        vectors, offset = moving.scaled.detach().cpu(), moving.offset.detach().cpu()
        factor = sum(self.config.factors) / len(self.config.factors)
        writers = vectors * (factor + offset)
        return Directions(moving.attribute, moving.values, vectors, offset, writers=writers, to_scale=True)


class MovingReps(MovingVectors):
    """A vector and a number for each value under training."""

    def __init__(self, attribute: str, values: Sequence[str], vectors: Tensor, unit: float = 1.0) -> None:
        """Begin with these vectors, [d_model, n_values] in units, and 0."""
        super().__init__(attribute, values, vectors, unit)
        self.offset = nn.Parameter(vectors.new_zeros(vectors.shape[1]))
        """b, [n_values]."""

    def steering(self, factor: float) -> tuple[Edit, float]:
        """Return what adds `(factor + b) w`."""
        return Addition(self.attribute, self.values, self.scaled * (factor + self.offset)), 1.0

    def nulling(self, factor: float) -> tuple[Edit, float]:
        """Return what takes away what a vector has of w beyond the level -b, whatever the factor."""
        lengths = self.scaled.norm(dim=0).clamp_min(1e-12)
        return Null(self.attribute, self.values, self.scaled, -self.offset / lengths), 1.0


METHOD = Reps
