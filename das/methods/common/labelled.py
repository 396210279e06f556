"""Vectors of training prompts, with the class of each prompt's entity: what methods without pairs learn from.
A class is what the model itself says of an entity; the test splits are out of reach."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from das.engine.base.protocol import Engine
from das.methods.common.base import NotApplicableError, Problem
from das.sites import Site
from ravel.common.seeds import sampled
from ravel.instance import Instance, PromptRecord, entity_values
from ravel.terms.schema import TRAIN_SPLIT

_VALIDATION_SPLITS = ("context_val", "entity_val")
_STREAM = "labelled vectors"
_FEWEST_ENTITIES = 2
"""Entities of which a class needs this many, or nothing can be learned of it but a name."""
_LEAST_COVERED = 0.5
"""Share of the training entities that the classes must cover: below it most values are names of one entity,
and what is learned of the rest says little of the attribute."""


@dataclass(frozen=True, slots=True)
class LabelledVectors:
    """Vectors at one site, each with the class of its entity."""

    vectors: Tensor
    """[n, width] in float32, on the CPU."""
    labels: NDArray[np.int64]
    """Index into `classes`, [n]."""
    classes: tuple[str, ...]
    """The values of the target attribute that count, sorted."""
    entities: tuple[str, ...]
    """The entity of each vector, [n]; vectors of one entity belong together when data are divided."""


def training_prompts(instance: Instance) -> list[PromptRecord]:
    """Return every distinct prompt of the training pairs (bases, sources and swapped bases), by id."""
    ids = {
        prompt_id
        for pair in instance.pairs(TRAIN_SPLIT)
        for prompt_id in (pair.base, pair.source, pair.swapped)
    }
    return [instance.prompt(prompt_id) for prompt_id in sorted(ids)]


def validation_prompts(instance: Instance) -> list[PromptRecord]:
    """Return every distinct base of the validation pairs of held-out templates or entities, by id."""
    ids = {pair.base for split in _VALIDATION_SPLITS for pair in instance.pairs(split)}
    return [instance.prompt(prompt_id) for prompt_id in sorted(ids)]


def labelled_vectors(problem: Problem, engine: Engine, *, limit: int, seed: int = 0) -> LabelledVectors:
    """Return at most `limit` training vectors at the problem's site with classes of its target attribute.

    Every training prompt counts, whatever it asks for. Values that a single entity has are left out. More
    vectors than `limit` are sampled by `seed`; classes of which none is sampled are left out too. Raises
    NotApplicableError if fewer than two classes are left or they cover less than half of the entities (an
    open-vocabulary attribute, say), or if the vectors are all the same.
    """
    values = entity_values(problem.instance, problem.attribute, (TRAIN_SPLIT,))
    holders = Counter(values.values())
    classes = tuple(sorted(value for value, count in holders.items() if count >= _FEWEST_ENTITIES))
    covered = sum(holders[value] for value in classes)
    if len(classes) < 2 or covered < _LEAST_COVERED * len(values):
        raise _too_few(problem, len(classes), len(holders) - len(classes), covered)
    records = [r for r in training_prompts(problem.instance) if values.get(r.prompt.entity) in classes]
    records = sampled(records, limit, seed, _STREAM)
    # A class without a vector would have a place in every classifier and no way to be learned.
    stated = {values[r.prompt.entity] for r in records}
    classes = tuple(value for value in classes if value in stated)
    labelled = _labelled(problem, engine, records, values, classes)
    _check_variation(problem, labelled.vectors)
    return labelled


def validation_vectors(
    problem: Problem, engine: Engine, classes: Sequence[str], *, limit: int
) -> LabelledVectors:
    """Return at most `limit` validation vectors of held-out templates or entities, for known classes only.
    May be empty."""
    values = entity_values(problem.instance, problem.attribute, _VALIDATION_SPLITS)
    records = [r for r in validation_prompts(problem.instance) if values.get(r.prompt.entity) in classes]
    records = sampled(records, limit, 0, _STREAM)
    return _labelled(problem, engine, records, values, tuple(classes))


def plain_vectors(instance: Instance, engine: Engine, site: Site, *, limit: int, seed: int = 0) -> Tensor:
    """Return at most `limit` training vectors at a site without classes, [n, width] in float32 on the CPU."""
    records = sampled(training_prompts(instance), limit, seed, _STREAM)
    return engine.collect([record.prompt for record in records], [site])[site].cpu()


def _labelled(
    problem: Problem,
    engine: Engine,
    records: Sequence[PromptRecord],
    values: dict[str, str],
    classes: tuple[str, ...],
) -> LabelledVectors:
    index = {value: number for number, value in enumerate(classes)}
    entities = tuple(record.prompt.entity for record in records)
    vectors = engine.collect([record.prompt for record in records], [problem.site])[problem.site]
    return LabelledVectors(
        vectors=vectors.cpu(),
        labels=np.array([index[values[entity]] for entity in entities], dtype=np.int64),
        classes=classes,
        entities=entities,
    )


def _check_variation(problem: Problem, vectors: Tensor) -> None:
    if bool(torch.all(vectors == vectors[:1])):
        raise NotApplicableError(
            expected=f"vectors at {problem.site} that differ between prompts",
            came=f"{len(vectors)} equal ones",
            todo="choose another site",
        )


def _too_few(problem: Problem, classes: int, single: int, covered: int) -> NotApplicableError:
    return NotApplicableError(
        expected=f"at least two values of {problem.attribute!r}, each of two or more training entities, "
        "which together cover half of them",
        came=f"{classes} that cover {covered} of {covered + single} entities, "
        f"and {single} values that a single entity has",
        todo="use a method that needs no class labels, or build the instance with more entities",
    )
