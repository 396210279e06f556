"""What to know of tables before believing a score: counts, skew, dependence, novelty and odd spots."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping

from ravel.checking.audit_report import (
    AttributeFreeTexts,
    AttributeTemplates,
    AttributeValues,
    AuditReport,
    NearDuplicates,
    PartitionCounts,
)
from ravel.checking.dependence import dependences
from ravel.checking.values import values_of_tables
from ravel.common.seeds import grouped
from ravel.facts.tables import Tables
from ravel.terms.mentions import same_text
from ravel.terms.schema import SLOT, Partition, Template

_MISREADINGS = ("mac_roman", "cp1252", "latin-1")


def audit_tables(tables: Tables) -> AuditReport:
    """Compute the report. Cost: entities times templates substring searches; a second for the release."""
    partition_of = {facts.entity: facts.partition for facts in tables.entities}
    asked = [template for template in tables.templates if template.attribute is not None]
    free = list(tables.templates_for(None))
    free_texts = {template.text for template in free}
    names = tuple(partition_of)
    return AuditReport(
        entity_type=tables.entity_type.name,
        entities=_counts(partition_of.values()),
        templates=tuple(_attribute_templates(tables, names)),
        attribute_free=_attribute_free(free, partition_of, names),
        values=tuple(_attribute_values(tables)),
        dependences=tuple(dependences(values_of_tables(tables), "facts")),
        near_duplicates=(*_near_duplicate_entities(names), *_near_duplicate_values(tables)),
        glued_slots=tuple(template.text for template in tables.templates if _is_glued(template.text)),
        asked_and_free=tuple(t.text for t in asked if t.text in free_texts),
        across_partitions=tuple(_across_partitions(asked, free)),
        held_twice=tuple(_held_twice(tables)),
        without_values=tuple(_without_values(tables)),
        all_blank=tuple(f.entity for f in tables.entities if not any(value.strip() for _, value in f.values)),
    )


def _counts(partitions: Iterable[Partition]) -> PartitionCounts:
    counts = Counter(partitions)
    return PartitionCounts(counts["train"], counts["val"], counts["test"])


def _attribute_templates(tables: Tables, names: tuple[str, ...]) -> Iterator[AttributeTemplates]:
    for attribute in tables.entity_type.attributes:
        templates = tables.templates_for(attribute.name)
        if templates:
            yield AttributeTemplates(
                attribute=attribute.name,
                counts=_counts(template.partition for template in templates),
                with_demonstration=sum(_names_an_entity(t.text, names) for t in templates),
                slot_at_end=sum(t.text.endswith(SLOT) for t in templates),
            )


def _attribute_free(
    free: list[Template], partition_of: Mapping[str, Partition], names: tuple[str, ...]
) -> AttributeFreeTexts:
    bound = [t for t in free if t.entity is not None and partition_of[t.entity] == "train"]
    return AttributeFreeTexts(
        counts=_counts(t.partition for t in free),
        for_any_entity=_counts(t.partition for t in free if t.entity is None),
        for_train_entity=_counts(t.partition for t in bound),
        with_demonstration=sum(_names_an_entity(t.text, names) for t in free),
        slot_at_end=sum(t.text.endswith(SLOT) for t in free),
    )


def _names_an_entity(text: str, names: tuple[str, ...]) -> bool:
    # The plain search is fast and settles nearly all; only its hits are checked for word boundaries.
    outside = text.replace(SLOT, "\0")
    return any(
        name in outside and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", outside) is not None
        for name in names
    )


def _attribute_values(tables: Tables) -> Iterator[AttributeValues]:
    for name, values in tables.columns().items():
        stated = {entity: value for entity, value in values.items() if value.strip()}
        if stated:
            yield _of_one_attribute(tables, name, values, stated)


def _of_one_attribute(
    tables: Tables, name: str, values: Mapping[str, str], stated: Mapping[str, str]
) -> AttributeValues:
    frequency = Counter(stated.values())
    commonest, count = frequency.most_common(1)[0]
    mojibake = {entity for entity, value in stated.items() if _is_mojibake(value)}
    return AttributeValues(
        attribute=name,
        stated=len(stated),
        blank=len(values) - len(stated),
        absent=len(tables.entities) - len(values),
        distinct=len(frequency),
        commonest=commonest,
        commonest_count=count,
        majority_share=count / len(stated),
        seen_val=_seen_in_train(tables, stated, "val"),
        seen_test=_seen_in_train(tables, stated, "test"),
        with_comma=sum("," in value for value in stated.values()),
        mojibake=len(mojibake),
        non_ascii=sum(not value.isascii() for entity, value in stated.items() if entity not in mojibake),
        negative=sum(re.fullmatch(r"-\d+(\.\d+)?", value) is not None for value in stated.values()),
    )


def _seen_in_train(tables: Tables, stated: Mapping[str, str], partition: Partition) -> float | None:
    by_partition: dict[str, list[str]] = defaultdict(list)
    for facts in tables.entities:
        if facts.entity in stated:
            by_partition[facts.partition].append(stated[facts.entity])
    train, held_out = set(by_partition["train"]), by_partition[partition]
    return sum(value in train for value in held_out) / len(held_out) if held_out else None


def _is_mojibake(value: str) -> bool:
    """Say whether the value, written in some other encoding, reads as different UTF-8 text."""
    return "\ufffd" in value or any(
        _reread(value, encoding) not in (None, value) for encoding in _MISREADINGS
    )


def _reread(value: str, encoding: str) -> str | None:
    try:
        return value.encode(encoding).decode("utf-8")
    except UnicodeError:
        return None


def _near_duplicate_entities(names: tuple[str, ...]) -> Iterator[NearDuplicates]:
    for group in _groups(names, str.casefold):
        yield NearDuplicates("entity", group)


def _near_duplicate_values(tables: Tables) -> Iterator[NearDuplicates]:
    for name, column in tables.columns().items():
        words = {value for value in column.values() if re.search(r"[^\W\d_]", value)}
        for group in _groups(words, _bare):
            yield NearDuplicates(name, group)


def _groups(texts: Iterable[str], key: Callable[[str], Hashable]) -> list[tuple[str, ...]]:
    return sorted(tuple(sorted(group)) for group in grouped(set(texts), key).values() if len(group) > 1)


def _bare(value: str) -> str:
    words = (re.sub(r"[\W_]", "", word) for word in value.casefold().split())
    return "".join(word.removesuffix("s") for word in words)


def _is_glued(text: str) -> bool:
    before, _, behind = text.partition(SLOT)
    return before[-1:].isalnum() or behind[:1].isalnum()


def _across_partitions(asked: list[Template], free: list[Template]) -> Iterator[str]:
    partition_of = {template.text: template.partition for template in free}
    for template in asked:
        if partition_of.get(template.text, template.partition) != template.partition:
            yield template.text


def _held_twice(tables: Tables) -> Iterator[NearDuplicates]:
    rows = {
        "entity": [(facts.entity, facts.partition) for facts in tables.entities],
        "template": [(template.text, template.partition) for template in tables.templates],
    }
    for what, placed in rows.items():
        for group in grouped(placed, lambda one: same_text(one[0])).values():
            if len({partition for _, partition in group}) > 1:
                yield NearDuplicates(what, tuple(sorted({text for text, _ in group})))


def _without_values(tables: Tables) -> Iterator[str]:
    usable = tables.attributes()
    for attribute in tables.entity_type.attributes:
        if attribute.name not in usable and tables.templates_for(attribute.name):
            yield attribute.name
