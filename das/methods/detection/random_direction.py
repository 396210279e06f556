"""The floor of detection: a random direction for each value."""

from __future__ import annotations

import torch

from das.detectors.directions import Directions
from das.engine.base.protocol import Engine
from das.methods.common.alignment import fit_seed
from das.methods.common.base import Problem, Workspace
from das.methods.detection._directions import FindsDetector


class RandomDirection(FindsDetector):
    """Directions drawn uniformly, one for each value, that have seen no vector. Any one of them may tell some
    value well or ill; on average over draws the area under the curve is a half."""

    name = "random_direction"
    summary = "Tells a value by a random direction: the floor of detection"
    needs_labels = False
    draws = True

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Directions:
        """Return random `Directions`. Raises what `concepts` raises."""
        told = self.concepts(problem, workspace).values
        stream = torch.Generator().manual_seed(fit_seed(self, problem))
        columns = torch.randn(engine.target.width(problem.site), len(told), generator=stream)
        return Directions(problem.attribute, told, columns / columns.norm(dim=0))


METHOD = RandomDirection
