"""How well one attribute tells another, how skewed and how new values are: from facts or a model's labels.

It knows no scores. Labels are compared after `normalised`, facts as they are written.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Literal

from ravel.common.errors import SuiteError
from ravel.common.typed import Record
from ravel.entity_types import ENTITY_TYPES
from ravel.facts.schema import Partition
from ravel.facts.tables import Tables, read_bundled
from ravel.instance.instance import Instance

__all__ = [
    "BOUND_REDUCTION",
    "BOUND_SHARE",
    "DEPENDENCE_SCHEMA_VERSION",
    "Dependence",
    "SameValue",
    "Skew",
    "ValueSource",
    "Values",
    "bound_attributes",
    "bundled_facts",
    "dependences",
    "normalised",
    "partitions_of_instance",
    "partitions_of_tables",
    "preferred",
    "read_dependence",
    "read_skews",
    "skews",
    "values_of_instance",
    "values_of_tables",
]

DEPENDENCE_SCHEMA_VERSION = 1
_MEND = "remove the file; it is made again from the instance"
BOUND_SHARE, BOUND_REDUCTION = 0.8, 0.5
"""One attribute is bound to another if it tells it for this share of left-out entities, and so avoids this
share of the errors that guessing the commonest value makes. Without the second, a skewed attribute would be
bound to every other."""

Values = Mapping[str, Mapping[str, str]]
"""{attribute: {entity: value}}, without blanks."""
ValueSource = Literal["facts", "labels"]


@dataclass(frozen=True, slots=True)
class Dependence(Record):
    """How well one attribute tells another, over entities that have both."""

    SCHEMA, MEND = DEPENDENCE_SCHEMA_VERSION, _MEND

    schema_version: int
    """`DEPENDENCE_SCHEMA_VERSION` of the writer."""
    source: ValueSource
    """Whether values are facts or the model's labels."""
    given: str
    """The attribute that is known."""
    told: str
    """The attribute that is guessed from it."""
    n: int
    """Entities with both values."""
    given_values: int
    """Different values of `given`; with as many as entities, `share` is 1 and says nothing."""
    told_values: int
    """Different values of `told`."""
    majority: float
    """Share of entities with the commonest `told`: what guessing without knowing `given` scores."""
    share: float
    """Share of entities whose `told` is the commonest among those of equal `given`, themselves included."""
    left_out: float
    """The same when each entity is guessed from the others only; ties count their chance."""
    reduction: float | None
    """Goodman and Kruskal's lambda: the part of the errors of `majority` that knowing `given` avoids."""
    reduction_left_out: float | None
    """The same when each entity is guessed from the others only; below 0 where `given` misleads."""

    @property
    def bound(self) -> bool:
        """Whether `given` tells `told` well enough to count as logically bound to it."""
        reduction = self.reduction_left_out
        return self.left_out >= BOUND_SHARE and reduction is not None and reduction >= BOUND_REDUCTION


@dataclass(frozen=True, slots=True)
class Skew(Record):
    """How uneven the values of an attribute are, and how many held-out entities bring new ones."""

    SCHEMA, MEND = DEPENDENCE_SCHEMA_VERSION, _MEND

    schema_version: int
    """`DEPENDENCE_SCHEMA_VERSION` of the writer."""
    source: ValueSource
    """Whether values are facts or the model's labels."""
    attribute: str
    """The attribute."""
    n: int
    """Entities with a value."""
    values: int
    """Different values."""
    commonest: str
    """The commonest value; the first in the alphabet among equals."""
    majority: float
    """Share of entities that have it: what always saying it scores."""
    new_val: float | None
    """Share of val entities whose value no train entity has; None without val or without train entities."""
    new_test: float | None
    """Share of test entities whose value no train entity has; None without test or without train entities."""


def read_dependence(path: Path) -> list[Dependence]:
    """Read a file of dependence records. Raises SuiteError naming the line that does not fit."""
    return Dependence.read(path)


def read_skews(path: Path) -> list[Skew]:
    """Read a file of skew records. Raises SuiteError naming the line that does not fit."""
    return Skew.read(path)


def preferred(records: Sequence[Dependence]) -> list[Dependence]:
    """Return the records of the facts or, if there are none, those of the labels."""
    return [r for r in records if r.source == "facts"] or list(records)


def normalised(label: str) -> str:
    """Return a label as its class is called: case, outer blanks, quotes and closing stops make no class."""
    return " ".join(label.split()).strip(" \"'.,;:").casefold()


def values_of_tables(tables: Tables) -> dict[str, dict[str, str]]:
    """Return the facts by attribute and entity, attributes in the type's order; blank values are left out."""
    values: dict[str, dict[str, str]] = {a.name: {} for a in tables.entity_type.attributes}
    for facts in tables.entities:
        for name, value in facts.values:
            if value.strip():
                values[name][facts.entity] = value
    return {name: column for name, column in values.items() if column}


def values_of_instance(instance: Instance) -> dict[str, dict[str, str]]:
    """Return what the model says of each entity: its commonest label over the attribute's templates.

    Labels are `normalised`; among equals the first in the alphabet. Where templates ask for several formats
    of one value, as for time zones, two entities of equal value may differ here; `SameValue` compares within
    templates instead.
    """
    values: dict[str, dict[str, str]] = {name: {} for name in instance.attributes}
    for (attribute, entity), by_template in _labels(instance).items():
        counts = Counter(by_template.values())
        values.setdefault(attribute, {})[entity] = min(counts, key=lambda label: (-counts[label], label))
    return {name: dict(sorted(column.items())) for name, column in values.items() if column}


def partitions_of_tables(tables: Tables) -> dict[str, Partition]:
    """Return each entity's partition."""
    return {facts.entity: facts.partition for facts in tables.entities}


def partitions_of_instance(instance: Instance) -> dict[str, Partition]:
    """Return each entity's partition as the manifest has it or, for an imported instance without, as the base
    entities of the splits `train`, `entity_val` and `entity_test` show it."""
    found: dict[str, Partition] = {}
    held: tuple[tuple[Partition, str], ...] = (
        ("test", "entity_test"),
        ("val", "entity_val"),
        ("train", "train"),
    )
    for partition, split in held:
        listed = instance.manifest.entities.get(partition, ())
        shown = (pair.base_entity for pair in instance.pairs(split)) if split in instance.splits() else ()
        found.update(dict.fromkeys(listed or shown, partition))
    return found


def bundled_facts(instance: Instance) -> Tables | None:
    """Return the facts shipped for the instance's type if they hold all its entities, else None.

    An instance does not hold the facts it was built from. Its labels remain what pairs are judged by.
    """
    if instance.entity_type not in ENTITY_TYPES or not ENTITY_TYPES.get(instance.entity_type).bundled:
        return None
    try:
        tables = read_bundled(instance.entity_type)
    except SuiteError:
        return None
    known = {facts.entity for facts in tables.entities}
    asked = {record.prompt.entity for record in instance.prompts() if record.prompt.attribute is not None}
    return tables if asked <= known else None


def dependences(values: Values, source: ValueSource) -> list[Dependence]:
    """Return every ordered pair of attributes that share entities, in the order of `values`.

    The share is that of the mode given `given`. With few entities per value it flatters: an attribute with as
    many values as entities tells everything. `left_out` guesses each entity from the others, and from the
    commonest value of all others where none shares its `given`. `reduction` is lambda of Goodman and Kruskal
    (1954, Journal of the American Statistical Association 49), None where `told` has one value only.
    """
    found = (_dependence(values, given, told, source) for given, told in permutations(values, 2))
    return [record for record in found if record is not None]


def skews(values: Values, partition_of: Mapping[str, Partition], source: ValueSource) -> list[Skew]:
    """Return a record per attribute that has a value, in the order of `values`."""
    return [_skew(name, column, partition_of, source) for name, column in values.items() if column]


def bound_attributes(records: Iterable[Dependence]) -> dict[str, tuple[str, ...]]:
    """Return, per attribute, the others that it tells or that tell it (`Dependence.bound`), in order."""
    related: dict[str, dict[str, None]] = {}
    for record in records:
        related.setdefault(record.given, {})
        related.setdefault(record.told, {})
        if record.bound:
            related[record.given][record.told] = None
            related[record.told][record.given] = None
    return {attribute: tuple(sorted(others)) for attribute, others in related.items()}


class SameValue:
    """Tells whether two entities have the same value of an attribute, as the target model sees it.

    First by the labels of templates that were asked of both: most of them decide. Then, where none was or
    they are split evenly, by the facts. Then by each entity's commonest label. Labels come first because
    pairs are judged by them; within a template, because two templates may ask for two formats of one value.
    """

    def __init__(self, instance: Instance, facts: Values | None = None) -> None:
        self._labels = _labels(instance)
        self._facts: Values = {} if facts is None else facts
        self._commonest = values_of_instance(instance)

    def __call__(self, attribute: str, first: str, second: str) -> bool | None:
        """Return whether the values are equal, or None if one of them is unknown."""
        if first == second:
            return True
        decided = self._within_templates(attribute, first, second)
        for values in (self._facts, self._commonest):
            column = values.get(attribute, {})
            if decided is None and first in column and second in column:
                decided = column[first] == column[second]
        return decided

    def _within_templates(self, attribute: str, first: str, second: str) -> bool | None:
        ours = self._labels.get((attribute, first), {})
        theirs = self._labels.get((attribute, second), {})
        equal = [label == theirs[template] for template, label in ours.items() if template in theirs]
        return None if 2 * sum(equal) == len(equal) else 2 * sum(equal) > len(equal)


def _labels(instance: Instance) -> dict[tuple[str, str], dict[str, str]]:
    """Return {(attribute, entity): {template: class of the label}}."""
    labels: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for record in instance.prompts():
        attribute, label = record.prompt.attribute, normalised(record.label)
        if attribute is not None and label:
            labels[attribute, record.prompt.entity][record.prompt.template] = label
    return dict(labels)


def _dependence(values: Values, given: str, told: str, source: ValueSource) -> Dependence | None:
    shared = sorted(values[given].keys() & values[told].keys())
    if not shared:
        return None
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for entity in shared:
        groups[values[given][entity]][values[told][entity]] += 1
    everyone = Counter(values[told][entity] for entity in shared)
    n = len(shared)
    majority, share = max(everyone.values()) / n, sum(max(g.values()) for g in groups.values()) / n
    left_out = sum(_left_out_hits(group, everyone) for group in groups.values()) / n
    blind = _left_out_hits(everyone, everyone) / n
    return Dependence(
        schema_version=DEPENDENCE_SCHEMA_VERSION,
        source=source,
        given=given,
        told=told,
        n=n,
        given_values=len(groups),
        told_values=len(everyone),
        majority=majority,
        share=share,
        left_out=left_out,
        reduction=_reduction(share, majority),
        reduction_left_out=_reduction(left_out, blind),
    )


def _reduction(share: float, blind: float) -> float | None:
    return None if blind == 1 else (share - blind) / (1 - blind)


def _left_out_hits(group: Counter[str], everyone: Counter[str]) -> float:
    """Return how many members of a group are guessed right by the mode of the others in it."""
    # Someone alone in the group is guessed from all others.
    basis = group if group.total() > 1 else everyone
    chance = _Chances(basis)
    return sum(count * chance.of(basis[value]) for value, count in group.items())


class _Chances:
    """The chance that the mode of the others is one's own value, by how often that value occurs."""

    def __init__(self, counts: Counter[str]) -> None:
        self._having = Counter(counts.values())
        self._tops = sorted(self._having, reverse=True)[:2]

    def of(self, count: int) -> float:
        """Return it for a value that occurs `count` times, oneself included."""
        top = self._tops[0]
        if top == count and self._having[count] == 1:
            top = self._tops[1] if len(self._tops) > 1 else 0
        mine = count - 1
        if mine == 0 or mine < top:
            return 0.0
        return 1.0 if mine > top else 1 / (1 + self._having[mine])


def _skew(
    name: str, column: Mapping[str, str], partition_of: Mapping[str, Partition], source: ValueSource
) -> Skew:
    counts = Counter(column.values())
    commonest = min(counts, key=lambda value: (-counts[value], value))
    return Skew(
        schema_version=DEPENDENCE_SCHEMA_VERSION,
        source=source,
        attribute=name,
        n=len(column),
        values=len(counts),
        commonest=commonest,
        majority=counts[commonest] / len(column),
        new_val=_new(column, partition_of, "val"),
        new_test=_new(column, partition_of, "test"),
    )


def _new(
    column: Mapping[str, str], partition_of: Mapping[str, Partition], partition: Partition
) -> float | None:
    known = set(_values_in(column, partition_of, "train"))
    held_out = list(_values_in(column, partition_of, partition))
    if not known or not held_out:
        return None
    return sum(value not in known for value in held_out) / len(held_out)


def _values_in(
    column: Mapping[str, str], partition_of: Mapping[str, Partition], partition: Partition
) -> Iterator[str]:
    return (value for entity, value in column.items() if partition_of.get(entity) == partition)
