"""What the model says of each entity, and which of its values are concepts: had by entities enough to learn
from. It knows no vectors and no method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ravel.instance.instance import Instance
from ravel.terms.schema import TRAIN_SPLIT, InterchangePair

LEAST_ENTITIES = 10
"""Training entities that must have a value, if it is to be a concept."""


@dataclass(frozen=True, slots=True)
class Concepts:
    """The values of one attribute, parted into those that can be learned and those that can't."""

    attribute: str
    """The attribute."""
    values: tuple[str, ...]
    """Values that enough training entities have, and not all of them; sorted."""
    left_out: tuple[tuple[str, int], ...]
    """Every other value with the number of training entities that have it, the commonest first."""


def concepts_of(instance: Instance, attribute: str) -> Concepts:
    """Return which values of an attribute at least `LEAST_ENTITIES` training entities
    have, and others have not."""
    values = entity_values(instance, attribute, (TRAIN_SPLIT,))
    holders = Counter(values.values())
    told = tuple(sorted(v for v, n in holders.items() if LEAST_ENTITIES <= n < len(values)))
    others = sorted(((v, n) for v, n in holders.items() if v not in told), key=lambda one: (-one[1], one[0]))
    return Concepts(attribute, told, tuple(others))


def entity_values(instance: Instance, attribute: str, splits: Sequence[str]) -> dict[str, str]:
    """Return what the model says most often for each entity under the templates of `attribute`. Counted over
    the base and swapped prompts of `splits`; ties go to the value that comes first as text."""
    prompts = {
        prompt_id
        for split in splits
        for pair in instance.pairs(split)
        if pair.attribute == attribute
        for prompt_id in (pair.base, pair.swapped)
    }
    counts: dict[str, Counter[str]] = {}
    for prompt_id in sorted(prompts):
        record = instance.prompt(prompt_id)
        counts.setdefault(record.prompt.entity, Counter())[record.label.strip()] += 1
    return {
        entity: min(said, key=lambda value: (-said[value], value)) for entity, said in sorted(counts.items())
    }


def steered_pairs(instance: Instance, split: str, target: str) -> list[tuple[InterchangePair, str]]:
    """Return the pairs of a split whose base can be given a value of `target`, with the value: a concept that
    the source's entity has and the base's has not. A pair that asks for the target counts only if its answer
    with the source's entity is that very value. Raises SuiteError for a withheld split."""
    pairs = instance.pairs(split)
    told = concepts_of(instance, target).values if pairs else ()
    known = entity_values(instance, target, (TRAIN_SPLIT, split)) if told else {}
    found = []
    for pair in pairs if told else ():
        value = known.get(pair.source_entity)
        gives = pair.attribute != target or pair.if_swapped.strip() == value
        if gives and value in told and value != known.get(pair.base_entity):
            found.append((pair, value))
    return found
