"""What an audit of tables says: its parts as values, and the whole as lines of text; it computes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ravel.checking.dependence import Dependence


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
    for what, texts in spots.items():
        if texts:
            yield f"  {what}: {len(texts)}, such as {texts[0]!r}"
    for group in report.held_twice:
        yield f"  in two partitions ({group.what}): {' / '.join(group.spellings)}"
    for group in report.near_duplicates:
        yield f"  nearly equal ({group.what}): {' / '.join(group.spellings)}"
    if not report.near_duplicates and not report.held_twice and not any(spots.values()):
        yield "  none"
