"""A vector for each value whose nulling is trained: entities lose the value, and keep all else."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from das.detectors.directions import Directions
from das.detectors.reading import difference_of_means, means_of
from das.engine.base.protocol import Engine
from das.methods.common import edit_objectives as objectives
from das.methods.common.alignment import fit_seed
from das.methods.common.base import Problem, Workspace
from das.methods.common.concepts import concept_vectors, has_tensor
from das.methods.common.edit_training import train_edit
from das.methods.detection._directions import FindsDetector
from das.methods.steering._suppression import SuppressionConfig, suppression_lessons
from das.methods.steering.reps import MovingReps


class RepsSuppressConfig(SuppressionConfig):
    """Settings of reps_suppress."""


class RepsSuppress(FindsDetector[RepsSuppressConfig]):
    """The nulling side of RePS (Wu et al. 2025, arXiv 2505.20809), `h - ReLU(w h + b) w / |w|^2`, trained by
    its preference on entities that have the value: nulled, another entity's answer is preferred to the
    value's. Entities without it, and prompts of other attributes, are to keep the model's own answer, by its
    cross entropy.

    It is read as the direction w with the level -b. Departures: the reference trains nulling on ordinary
    prompts, beside steering, and suppresses by what was trained for both; margins are those of SimPO, without
    RePS's factor for answers that were unlikely, for which other answer it is does not matter, and with it
    all else is lost; what is to stay is learned by its cross entropy; training begins at the null of
    `diff_mean`, w the difference of means at length 1 and -b the level of the vectors without the value, for
    nothing is learned where nothing is above the level.
    """

    name = "reps_suppress"
    summary = "Vector for each value whose nulling makes entities lose it and leaves all else"
    config_class = RepsSuppressConfig
    needs_pairs = True
    draws = True

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Directions:
        """Return `Directions` to scale. Raises what `concepts` raises."""
        told = self.concepts(problem, workspace).values
        seed = fit_seed(self, problem)
        lessons = suppression_lessons(problem, told, self.config, seed)
        known = concept_vectors(problem.instance, problem.attribute, problem.site, engine)
        moving = MovingNull(problem.attribute, told, known.vectors, has_tensor(known, told))
        moving.to(engine.target.device)
        objective = self.config.suppression()
        loss_of = objectives.loss_by(objective, moving, lessons, engine=engine, site=problem.site, seed=seed)
        train_edit(moving, lessons, loss_of, self.config, seed=seed, workspace=workspace)
        vectors, offset = moving.vectors.detach().cpu(), moving.offset.detach().cpu()
        return Directions(problem.attribute, told, vectors, offset, to_scale=True)


class MovingNull(MovingReps):
    """A direction and a level for each value under training."""

    def __init__(self, attribute: str, values: Sequence[str], known: Tensor, has: Tensor) -> None:
        """Begin at the differences of means of vectors `known` [n, d_model] with and without each value, bool
        `has` [n, n_values], at length 1, and at the level of those without."""
        apart = difference_of_means(known, has)
        units = apart / apart.norm(dim=0).clamp_min(1e-12)
        super().__init__(attribute, values, units)
        with torch.no_grad():
            self.offset.sub_((means_of(known, ~has) * units).sum(dim=0))


METHOD = RepsSuppress
