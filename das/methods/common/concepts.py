"""Vectors of training prompts with the values of their entities: what detectors are found from. The test
splits are out of reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from das.engine.base.protocol import Engine
from das.methods.common.alignment import check_attribute
from das.methods.common.base import Method, NotApplicableError, Problem, Settings, Workspace
from das.methods.common.labelled import training_prompts
from das.sites import Site
from ravel.common.seeds import sampled
from ravel.instance import LEAST_ENTITIES, Concepts, Instance, PromptRecord, concepts_of, entity_values
from ravel.terms.schema import TRAIN_SPLIT

MOST_VECTORS = 20000
"""Most training prompts; a larger population is sampled, always the same."""
_STREAM = "concept vectors"


@dataclass(frozen=True, slots=True)
class ConceptPrompts:
    """Training prompts, whatever they ask for, with the value of each one's entity."""

    records: tuple[PromptRecord, ...]
    """The prompts, by id."""
    values: tuple[str, ...]
    """The value of the attribute that the prompt's entity has, [n]; also values that are no concept."""

    def has(self, told: Sequence[str]) -> NDArray[np.bool_]:
        """Return which prompt's entity has which value, [n, n_values]."""
        found: NDArray[np.bool_] = np.array(self.values)[:, None] == np.array(tuple(told))[None, :]
        return found


@dataclass(frozen=True, slots=True)
class ConceptVectors(ConceptPrompts):
    """The same with the prompts' vectors at a site."""

    vectors: Tensor
    """[n, width] in float32, on the CPU."""


def concept_prompts(instance: Instance, attribute: str, limit: int = MOST_VECTORS) -> ConceptPrompts:
    """Return at most `limit` training prompts whose entity has a known value of an attribute."""
    known = entity_values(instance, attribute, (TRAIN_SPLIT,))
    usable = [r for r in training_prompts(instance) if r.prompt.entity in known]
    records = sampled(usable, limit, 0, _STREAM)
    return ConceptPrompts(tuple(records), tuple(known[r.prompt.entity] for r in records))


def concept_vectors(
    instance: Instance, attribute: str, site: Site, engine: Engine, limit: int = MOST_VECTORS
) -> ConceptVectors:
    """Return the same prompts with their vectors at a site."""
    found = concept_prompts(instance, attribute, limit)
    vectors = engine.collect([record.prompt for record in found.records], [site])[site].cpu()
    return ConceptVectors(found.records, found.values, vectors)


def required_concepts(instance: Instance, attribute: str) -> Concepts:
    """Return the concepts of an attribute. Raises NotApplicableError where there is none."""
    found = concepts_of(instance, attribute)
    if not found.values:
        commonest = ", ".join(f"{value} of {n}" for value, n in found.left_out[:3]) or "no value at all"
        raise NotApplicableError(
            expected=f"a value of {attribute!r} that at least {LEAST_ENTITIES} training entities have, and "
            "others have not",
            came=commonest,
            todo="build the instance with more entities",
        )
    return found


class AboutConcepts(Method[Settings]):
    """A method that finds something for each value of its target that enough training entities have."""

    needs_size = False
    needs_labels = True
    draws = False

    def concepts(self, problem: Problem, workspace: Workspace) -> Concepts:
        """Return the values, and log how many there are and how many are left out. Raises SuiteError for an
        unknown attribute, NotApplicableError where no value has entities enough."""
        check_attribute(problem)
        found = required_concepts(problem.instance, problem.attribute)
        workspace.log({"values": len(found.values), "left_out": len(found.left_out)})
        return found


def has_tensor(prompts: ConceptPrompts, told: Sequence[str]) -> Tensor:
    """Return which prompt's entity has which value, bool [n, n_values]."""
    return torch.from_numpy(prompts.has(told))
