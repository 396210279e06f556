"""The ceiling of steering: the whole vector of a real entity that has the value."""

from __future__ import annotations

import torch

from das.edits.forms import Replacement
from das.edits.found import row_nearest_mean
from das.engine.base.protocol import Engine
from das.methods.common.base import Problem, Workspace
from das.methods.common.concepts import AboutConcepts, concept_vectors, has_tensor


class RealEntity(AboutConcepts):
    """For each value the vector of that training prompt, of an entity that has it, which lies nearest to the
    mean of all of them. It brings whatever else that entity has along."""

    name = "real_entity"
    summary = "Puts in the whole vector of a training entity that has the value: the ceiling of steering"
    finds = "edit"

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Replacement:
        """Return a `Replacement`. Raises what `concepts` raises."""
        told = self.concepts(problem, workspace).values
        known = concept_vectors(problem.instance, problem.attribute, problem.site, engine)
        has = has_tensor(known, told)
        rows = [row_nearest_mean(known.vectors, has, place) for place in range(len(told))]
        names = {value: known.records[row].prompt.entity for value, row in zip(told, rows, strict=True)}
        workspace.log({f"entity of {value}": name for value, name in names.items()})
        return Replacement(problem.attribute, told, torch.stack([known.vectors[r] for r in rows], dim=1))


METHOD = RealEntity
