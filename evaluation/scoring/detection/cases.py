"""The cases of detection: which prompts of a split are asked about, and what is known of their entities. It
knows no scores and no model."""

from __future__ import annotations

from functools import lru_cache

from evaluation.records.outcomes.detections import DetectedCase
from ravel.instance import Instance, concepts_of, entity_values
from ravel.terms.schema import TRAIN_SPLIT

_KEPT = 8
"""Splits of instances whose cases are kept, for they are asked for again with every cell."""


@lru_cache(maxsize=_KEPT)
def values_told(instance: Instance) -> dict[str, tuple[str, ...]]:
    """Return the values that are told by attribute, none of an attribute without concepts."""
    return {attribute: concepts_of(instance, attribute).values for attribute in instance.attributes}


@lru_cache(maxsize=_KEPT)
def detected_cases(instance: Instance, split: str) -> tuple[DetectedCase, ...]:
    """Return a case for each prompt of a split that asks for an attribute with concepts, by id: the bases of
    its pairs, and the bases with the source's entity. Raises SuiteError for a withheld split."""
    pairs = instance.pairs(split)
    told = values_told(instance)
    known = {a: entity_values(instance, a, (TRAIN_SPLIT, split)) for a in told} if pairs else {}
    found = []
    for prompt_id in sorted({i for pair in pairs for i in (pair.base, pair.swapped)}):
        record = instance.prompt(prompt_id)
        prompt, attribute = record.prompt, record.prompt.attribute or ""
        if told.get(attribute):
            others = {a: v[prompt.entity] for a, v in known.items() if a != attribute and prompt.entity in v}
            identity = (prompt_id, attribute, prompt.template, prompt.entity)
            found.append(DetectedCase(*identity, record.label.strip(), others, told[attribute]))
    return tuple(found)
