"""How well one attribute tells another, how skewed and how new values are: from facts or a model's labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Literal

from ravel.checking.values import Values
from ravel.common.typed import Record
from ravel.terms.schema import Partition

DEPENDENCE_SCHEMA_VERSION = 1
_MEND = "remove the file; it is made again from the instance"
BOUND_SHARE, BOUND_REDUCTION = 0.8, 0.5
"""One attribute is bound to another if it tells it for this share of left-out entities, and so avoids this
share of the errors that guessing the commonest value makes. Without the second, a skewed attribute would be
bound to every other."""

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


def dependences(values: Values, source: ValueSource) -> list[Dependence]:
    """Return every ordered pair of attributes that share entities, in the order of `values`.

    The share is that of the mode given `given`. With few entities per value it flatters: an attribute with as
    many values as entities tells everything. `left_out` guesses each entity from the others, and from the
    commonest value of all others where none shares its `given`. `reduction` is lambda of Goodman and Kruskal
    (1954, Journal of the American Statistical Association 49), None where `told` has one value only.
    """
    records = (_dependence(values, given, told, source) for given, told in permutations(values, 2))
    return [record for record in records if record is not None]


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
