"""What to know of tables before believing a score: counts, skew, dependence, novelty and odd spots.

Everything is computed from the tables alone, by the same rules for every type; nothing is mended here.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ravel.checking.dependence import Dependence, dependences, values_of_tables
from ravel.facts.tables import Tables
from ravel.terms.mentions import same_text
from ravel.terms.schema import SLOT, Partition, Template

__all__ = [
    "AttributeFreeTexts",
    "AttributeTemplates",
    "AttributeValues",
    "AuditReport",
    "NearDuplicates",
    "PartitionCounts",
    "audit_tables",
]

_MISREADINGS = ("mac_roman", "cp1252", "latin-1")


@dataclass(frozen=True, slots=True)
class PartitionCounts:
    """How many of something lie in each partition."""

    train: int
    """In train."""
    val: int
    """In val."""
    test: int
    """In test."""

    @property
    def total(self) -> int:
        """In all three."""
        return self.train + self.val + self.test

    def __str__(self) -> str:
        """Write the counts as `total (train/val/test)`."""
        return f"{self.total} ({self.train}/{self.val}/{self.test})"


@dataclass(frozen=True, slots=True)
class AttributeTemplates:
    """The templates that ask for one attribute."""

    attribute: str
    """The attribute."""
    counts: PartitionCounts
    """Templates per partition."""
    with_demonstration: int
    """Templates that name an entity outside the slot: it may equal the base or source entity."""
    slot_at_end: int
    """Templates that end in the slot: the entity's last token is the last of the prompt."""


@dataclass(frozen=True, slots=True)
class AttributeFreeTexts:
    """The texts that ask for no attribute."""

    counts: PartitionCounts
    """Texts per partition."""
    for_any_entity: PartitionCounts
    """Those that take any entity."""
    for_train_entity: PartitionCounts
    """Those bound to an entity of train, by the partition of the text."""
    with_demonstration: int
    """Texts that name an entity of the tables outside the slot."""
    slot_at_end: int
    """Texts that end in the slot."""


@dataclass(frozen=True, slots=True)
class AttributeValues:
    """The values of one attribute over all entities."""

    attribute: str
    """The attribute."""
    stated: int
    """Entities with a value that is not blank."""
    blank: int
    """Entities whose value is the empty string or blanks."""
    absent: int
    """Entities without an entry for the attribute."""
    distinct: int
    """Different values that are not blank."""
    commonest: str
    """The commonest value; the first in the data among equals."""
    commonest_count: int
    """Entities that have it."""
    majority_share: float
    """`commonest_count` over `stated`: what always guessing it scores."""
    seen_val: float | None
    """Share of val entities whose value some train entity has; None without val entities."""
    seen_test: float | None
    """Share of test entities whose value some train entity has; None without test entities."""
    with_comma: int
    """Entities whose value holds a comma, which mostly means several values."""
    mojibake: int
    """Entities whose value is UTF-8 text that was read in another encoding."""
    non_ascii: int
    """Entities whose value has other than ASCII characters without being mojibake."""
    negative: int
    """Entities whose value is a number below zero."""


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Different spellings that hardly differ."""

    what: str
    """`entity`, `template`, or the attribute whose values they are."""
    spellings: tuple[str, ...]
    """The spellings, sorted."""


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What `audit_tables` found; every part can be empty."""

    entity_type: str
    """Name of the type."""
    entities: PartitionCounts
    """Entities per partition."""
    templates: tuple[AttributeTemplates, ...]
    """One part per attribute that has templates."""
    attribute_free: AttributeFreeTexts
    """The texts that ask for nothing."""
    values: tuple[AttributeValues, ...]
    """One part per attribute that has values."""
    dependences: tuple[Dependence, ...]
    """Each ordered pair of attributes that share entities with values."""
    near_duplicates: tuple[NearDuplicates, ...]
    """Entities that differ in case only; values that differ in case, blanks, punctuation or final s only."""
    glued_slots: tuple[str, ...]
    """Templates and texts with a letter or digit right before or behind the slot: `%ss`."""
    asked_and_free: tuple[str, ...]
    """Texts that stand both among an attribute's templates and among the attribute-free ones."""
    across_partitions: tuple[str, ...]
    """Those of `asked_and_free` that lie in two partitions: held-out templates that training may see."""
    held_twice: tuple[NearDuplicates, ...]
    """Entities, and templates of whatever kind, that differ in case and blanks at most and lie in two
    partitions; a build keeps the earlier one only."""
    without_values: tuple[str, ...]
    """Attributes with templates but no values: nothing can be ranked or checked by them."""
    all_blank: tuple[str, ...]
    """Entities whose values are all blank."""

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values, ready for JSON; no number is rounded."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the report as lines of text for people."""
        return [
            *_count_lines(self),
            *_value_lines(self),
            *_dependence_lines(self),
            *_spot_lines(self),
        ]


def audit_tables(tables: Tables) -> AuditReport:
    """Compute the report. Cost: entities times templates substring searches; a second for the release."""
    partition_of = {facts.entity: facts.partition for facts in tables.entities}
    asked = [template for template in tables.templates if template.attribute is not None]
    free = list(tables.templates_for(None))
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
        asked_and_free=tuple(t.text for t in asked if t.text in {f.text for f in free}),
        across_partitions=tuple(_across_partitions(asked, free)),
        held_twice=tuple(_held_twice(tables)),
        without_values=tuple(_without_values(tables)),
        all_blank=tuple(f.entity for f in tables.entities if not any(value.strip() for _, value in f.values)),
    )


def _counts(partitions: Iterable[Partition]) -> PartitionCounts:
    found = Counter(partitions)
    return PartitionCounts(found["train"], found["val"], found["test"])


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
    for name, values in _columns(tables).items():
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


def _columns(tables: Tables) -> dict[str, dict[str, str]]:
    """Return {attribute: {entity: value}} in the type's order, blank values included."""
    columns: dict[str, dict[str, str]] = {attribute.name: {} for attribute in tables.entity_type.attributes}
    for facts in tables.entities:
        for name, value in facts.values:
            columns[name][facts.entity] = value
    return columns


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
    for name, column in _columns(tables).items():
        words = {value for value in column.values() if re.search(r"[^\W\d_]", value)}
        for group in _groups(words, _bare):
            yield NearDuplicates(name, group)


def _groups(texts: Iterable[str], key: Callable[[str], Hashable]) -> list[tuple[str, ...]]:
    by_key: dict[Hashable, set[str]] = defaultdict(set)
    for text in texts:
        by_key[key(text)].add(text)
    return sorted(tuple(sorted(group)) for group in by_key.values() if len(group) > 1)


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
        groups: dict[str, list[tuple[str, Partition]]] = defaultdict(list)
        for text, partition in placed:
            groups[same_text(text)].append((text, partition))
        for group in groups.values():
            if len({partition for _, partition in group}) > 1:
                yield NearDuplicates(what, tuple(sorted({text for text, _ in group})))


def _without_values(tables: Tables) -> Iterator[str]:
    usable = tables.attributes()
    for attribute in tables.entity_type.attributes:
        if attribute.name not in usable and tables.templates_for(attribute.name):
            yield attribute.name


def _count_lines(report: AuditReport) -> Iterator[str]:
    yield f"{report.entity_type}: counts are total (train/val/test)"
    yield f"  entities {report.entities}"
    for part in report.templates:
        yield (
            f"  templates for {part.attribute} {part.counts}; {part.with_demonstration} name an entity of "
            f"the data, {part.slot_at_end} end in the slot"
        )
    free = report.attribute_free
    yield (
        f"  attribute-free texts {free.counts}; {free.with_demonstration} name an entity of the data, "
        f"{free.slot_at_end} end in the slot"
    )
    yield f"    for any entity {free.for_any_entity}; bound to an entity of train {free.for_train_entity}"


def _value_lines(report: AuditReport) -> Iterator[str]:
    yield "values"
    for part in report.values:
        odd = {
            "blank": part.blank,
            "absent": part.absent,
            "with comma": part.with_comma,
            "mojibake": part.mojibake,
            "non-ASCII": part.non_ascii,
            "negative": part.negative,
        }
        noted = "".join(f", {count} {what}" for what, count in odd.items() if count)
        yield (
            f"  {part.attribute}: {part.distinct} distinct; {part.commonest!r} {part.commonest_count} times "
            f"({part.majority_share:.2f}); seen in train: val {_share(part.seen_val)}, test "
            f"{_share(part.seen_test)}{noted}"
        )


def _share(share: float | None) -> str:
    return "none there" if share is None else f"{share:.2f}"


def _dependence_lines(report: AuditReport) -> Iterator[str]:
    yield "dependence (share of entities for which the second follows from the first)"
    for part in report.dependences:
        yield (
            f"  {part.given} -> {part.told} {part.share:.2f} (each from the others {part.left_out:.2f}; "
            f"blindly {part.majority:.2f})"
        )


def _spot_lines(report: AuditReport) -> Iterator[str]:
    yield "odd spots"
    spots = {
        "attributes with templates but no values": report.without_values,
        "entities whose values are all blank": report.all_blank,
        "letters glued to the slot": report.glued_slots,
        "texts both with and without an attribute": report.asked_and_free,
        "of these, in two partitions": report.across_partitions,
    }
    for what, found in spots.items():
        if found:
            yield f"  {what}: {len(found)}, such as {found[0]!r}"
    for group in report.held_twice:
        yield f"  in two partitions ({group.what}): {' / '.join(group.spellings)}"
    for group in report.near_duplicates:
        yield f"  nearly equal ({group.what}): {' / '.join(group.spellings)}"
    if not report.near_duplicates and not report.held_twice and not any(spots.values()):
        yield "  none"
