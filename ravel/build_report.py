"""What a build says about itself: counts for the manifest, and refusals that tell how many failed where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ravel.common.errors import SuiteError
from ravel.knowledge import Answers, Kept
from ravel.schema import PARTITIONS, SOURCE_KINDS, TRAIN_SPLIT, EntityFacts, InterchangePair
from ravel.tables import Tables

__all__ = [
    "by_partition",
    "entity_counts",
    "pair_counts",
    "refuse_ignorance",
    "refuse_no_pairs",
    "template_counts",
]


def refuse_ignorance(answers: Answers, kept: Kept) -> None:
    """Raise SuiteError if no template or no training entity is left after the filter."""
    training = [answers.entities[column] for column in kept.entities]
    if kept.templates and any(facts.partition == "train" for facts in training):
        return
    raise SuiteError(
        expected="entities and templates that the model knows",
        came=(
            f"none left after the knowledge filter: {len(answers.entities) - len(kept.entities)} of "
            f"{len(answers.entities)} entities and {len(answers.templates) - len(kept.templates)} of "
            f"{len(answers.templates)} templates failed ({_rights(answers)})"
        ),
        todo="use a model that knows these facts, lower accuracy_threshold, or set `match: reference`",
    )


def refuse_no_pairs(
    pairs: Mapping[str, Sequence[InterchangePair]], answers: Answers, kept: Kept, counts: Mapping[str, int]
) -> None:
    """Raise SuiteError if there is nothing to train on or nothing to evaluate on."""
    if pairs[TRAIN_SPLIT] and any(found for name, found in pairs.items() if name != TRAIN_SPLIT):
        return
    found = ", ".join(f"{name} {len(drawn)}" for name, drawn in pairs.items())
    raise SuiteError(
        expected="training pairs and pairs to evaluate on",
        came=(
            f"{found} from {len(kept.entities)} kept entities and {len(kept.templates)} kept templates; "
            f"{counts.get('without_label', 0)} prompts had no label and {counts.get('without_position', 0)} "
            f"no token that ends the entity ({_rights(answers)})"
        ),
        todo="keep more entities and templates, or use a model whose answers differ between entities",
    )


def _rights(answers: Answers) -> str:
    parts = []
    for attribute in dict.fromkeys(template.attribute for template in answers.templates):
        rows = [row for row, template in enumerate(answers.templates) if template.attribute == attribute]
        parts.append(
            f"{attribute} {int(answers.right[rows].sum())} of {int(answers.asked[rows].sum())} right"
        )
    return ", ".join(parts) or "nothing was asked"


def entity_counts(tables: Tables, answers: Answers, kept: Kept) -> dict[str, dict[str, int]]:
    """Return by partition how many entities there are, were asked about and are kept."""
    known = [answers.entities[column] for column in kept.entities]
    return {
        partition: {
            "in_tables": sum(facts.partition == partition for facts in tables.entities),
            "candidates": sum(facts.partition == partition for facts in answers.entities),
            "kept": sum(facts.partition == partition for facts in known),
        }
        for partition in PARTITIONS
    }


def template_counts(answers: Answers, kept: Kept) -> dict[str, dict[str, dict[str, int]]]:
    """Return by attribute and partition how many templates were asked and are kept."""
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for row, template in enumerate(answers.templates):
        of_attribute = counts.setdefault(
            template.attribute or "", {p: {"candidates": 0, "kept": 0} for p in PARTITIONS}
        )
        of_attribute[template.partition]["candidates"] += 1
        of_attribute[template.partition]["kept"] += row in kept.templates
    return counts


def pair_counts(pairs: Sequence[InterchangePair]) -> dict[str, dict[str, int]]:
    """Return by attribute and source kind how many pairs there are."""
    counts: dict[str, dict[str, int]] = {}
    for pair in pairs:
        of_attribute = counts.setdefault(pair.attribute, dict.fromkeys(SOURCE_KINDS, 0))
        of_attribute[pair.source_kind] += 1
    return counts


def by_partition(entities: Sequence[EntityFacts]) -> dict[str, list[str]]:
    """Return the entities' names by partition."""
    return {p: [facts.entity for facts in entities if facts.partition == p] for p in PARTITIONS}
