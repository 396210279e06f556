"""What is written down: an outcome per pair, a score per cell, an average, a comparison; typed, versioned,
torch-free."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ravel.common.typed import Record
from ravel.terms.schema import Generalisation, Partition, SourceKind

__all__ = [
    "ADDED_FLOORS",
    "CONTROL_MARK",
    "FLOORS",
    "NO_OP_DISENTANGLE",
    "SCORE_SCHEMA_VERSION",
    "AverageRecord",
    "ComparisonRecord",
    "Interval",
    "Outcome",
    "Refusal",
    "ScoreRecord",
    "ScoredKind",
    "control_row",
    "is_control",
    "read_averages",
    "read_comparisons",
    "read_outcomes",
    "read_refusals",
    "read_scores",
    "set_apart",
]

SCORE_SCHEMA_VERSION = 2
ADDED_FLOORS: tuple[str, ...] = ("no_op", "full_vector", "random_subspace")
"""Floors that make sense in every suite."""
FLOORS: tuple[str, ...] = (*ADDED_FLOORS, "sae_reconstruction")
"""Methods that learn nothing of the attribute: rows that bound every other row from below or, for cause, from
above."""
CONTROL_MARK = "~"
"""Stands between a method and the control it is under, in the names of rows: `mdas~labels_shuffled`."""
_CONTROLLED = re.compile(rf"\w+{CONTROL_MARK}\w+")
NO_OP_DISENTANGLE = 0.5
"""What doing nothing scores: cause 0 and isolate 1. A lower score is worse than no intervention."""

ScoredKind = SourceKind | Literal["all"]
"""Which pairs a score counts: those of one source kind, or all of them."""
Interval = tuple[float, float]


def control_row(method: str, control: str) -> str:
    """Return the name of the row of a method under a control."""
    return f"{method}{CONTROL_MARK}{control}"


def is_control(method: str) -> bool:
    """Tell whether a row is a control: it must fail, and is never compared with the others."""
    return _CONTROLLED.fullmatch(method) is not None


def set_apart(method: str) -> bool:
    """Tell whether a row can't be the best of a table: a floor, or a control."""
    return method in FLOORS or is_control(method)


@dataclass(frozen=True, slots=True)
class Outcome(Record):
    """What the model said for one pair after the interchange, judged against both answers; no target is
    assumed."""

    pair_id: str
    """The pair, as in the instance."""
    attribute: str
    """What the base template asks for."""
    base_template: str
    """Unit of averaging, cluster of the bootstrap."""
    base_entity: str
    """Cluster of the bootstrap."""
    source_entity: str
    """For breakdowns."""
    source_kind: SourceKind
    """For breakdowns."""
    said_swapped: bool
    """The answer was `if_swapped`."""
    said_unchanged: bool
    """The answer was `if_unchanged`."""


@dataclass(frozen=True, slots=True)
class ScoreRecord(Record):
    """One line of `scores.jsonl`. Scores are unrounded; None only with a count of 0."""

    SCHEMA, ADDED = SCORE_SCHEMA_VERSION, ("source_kind",)

    schema_version: int
    """`SCORE_SCHEMA_VERSION` of the writer."""
    cell: str
    """Hash of all that determines the result."""
    method: str
    """As on the command line."""
    entity_type: str
    """As in the instance."""
    attribute: str
    """The target attribute."""
    model: str
    """Name of the target model."""
    site: str
    """As `Site` writes itself."""
    size: int
    """Number of swapped coordinates."""
    seed: int
    """Root of the fit's random streams."""
    generalisation: Generalisation
    """What is held out."""
    partition: Partition
    """`val` or `test`."""
    cause: float | None
    """Share of the attribute's pairs that gave the source's answer, macro over templates."""
    isolate: float | None
    """Share of the other attributes' pairs that kept the base's answer, macro over templates, then
    attributes."""
    disentangle: float | None
    """Mean of cause and isolate."""
    n_cause: int
    """Number of cause pairs."""
    n_isolate: int
    """Number of isolate pairs."""
    cause_interval: Interval | None
    """95 % interval, with entities and templates as clusters."""
    isolate_interval: Interval | None
    """95 % interval, with entities and templates as clusters."""
    disentangle_interval: Interval | None
    """95 % interval, with entities and templates as clusters."""
    chosen: bool
    """True for the point that selection on validation pairs picked."""
    source_kind: ScoredKind = "all"
    """Which pairs count; a breakdown by kind is kept for chosen points on test pairs. New in version 2."""


@dataclass(frozen=True, slots=True)
class AverageRecord(Record):
    """One line of `averages.jsonl`: the chosen point of a method, averaged over seeds and, for `macro`,
    attributes."""

    SCHEMA, ADDED = SCORE_SCHEMA_VERSION, ("source_kind",)

    schema_version: int
    """`SCORE_SCHEMA_VERSION` of the writer."""
    method: str
    """As on the command line."""
    entity_type: str
    """As in the instance."""
    model: str
    """Name of the target model."""
    scope: str
    """`attribute` for one target attribute, `macro` for the unweighted mean over all of `attributes`."""
    attributes: tuple[str, ...]
    """The target attributes that count; those without pairs are left out."""
    seeds: tuple[int, ...]
    """The seeds that were averaged."""
    generalisation: Generalisation
    """What is held out."""
    partition: Partition
    """`val` or `test`."""
    cause: float | None
    """Mean cause."""
    isolate: float | None
    """Mean isolate."""
    disentangle: float | None
    """Mean disentangle."""
    n_cause: int
    """Number of distinct cause pairs over the attributes."""
    n_isolate: int
    """Number of isolate judgements over the attributes (a pair serves as isolate pair of several targets)."""
    cause_interval: Interval | None
    """95 % interval, with what attributes and seeds share counted as shared."""
    isolate_interval: Interval | None
    """As `cause_interval`."""
    disentangle_interval: Interval | None
    """As `cause_interval`."""
    source_kind: ScoredKind = "all"
    """Which pairs count. New in version 2."""


@dataclass(frozen=True, slots=True)
class ComparisonRecord(Record):
    """One line of `comparisons.jsonl`: macro average of `first` minus that of `second`, on the same pairs."""

    SCHEMA, ADDED = SCORE_SCHEMA_VERSION, ("disentangle_p", "disentangle_p_adjusted")

    schema_version: int
    """`SCORE_SCHEMA_VERSION` of the writer."""
    first: str
    """A method."""
    second: str
    """Another method."""
    entity_type: str
    """As in the instance."""
    model: str
    """Name of the target model."""
    attributes: tuple[str, ...]
    """The target attributes that count."""
    generalisation: Generalisation
    """What is held out."""
    partition: Partition
    """`val` or `test`."""
    cause: float | None
    """Difference of the macro averages."""
    isolate: float | None
    """Difference of the macro averages."""
    disentangle: float | None
    """Difference of the macro averages."""
    cause_interval: Interval | None
    """95 % interval of the paired difference; it excludes 0 where the two methods differ."""
    isolate_interval: Interval | None
    """As `cause_interval`."""
    disentangle_interval: Interval | None
    """As `cause_interval`."""
    disentangle_p: float | None = None
    """Two-sided p-value of no difference in disentangle, below 0.05 exactly if its interval excludes 0.
    New in version 2."""
    disentangle_p_adjusted: float | None = None
    """The same, adjusted for all comparisons of this split at once (Holm 1979). New in version 2."""


@dataclass(frozen=True, slots=True)
class Refusal(Record):
    """One line of `refusals.jsonl`: a method that had no answer for a target attribute, at no point of its
    grid."""

    method: str
    """As on the command line."""
    attribute: str
    """The target attribute."""
    reason: str
    """What the method expected and what it found."""


def read_outcomes(path: Path) -> list[Outcome]:
    """Read an outcomes file. Raises SuiteError naming the line that does not fit."""
    return Outcome.read(path)


def read_scores(path: Path) -> list[ScoreRecord]:
    """Read `scores.jsonl`. Raises SuiteError naming the line that does not fit."""
    return ScoreRecord.read(path)


def read_averages(path: Path) -> list[AverageRecord]:
    """Read `averages.jsonl`. Raises SuiteError naming the line that does not fit."""
    return AverageRecord.read(path)


def read_comparisons(path: Path) -> list[ComparisonRecord]:
    """Read `comparisons.jsonl`. Raises SuiteError naming the line that does not fit."""
    return ComparisonRecord.read(path)


def read_refusals(path: Path) -> list[Refusal]:
    """Read `refusals.jsonl`. Raises SuiteError naming the line that does not fit."""
    return Refusal.read(path)
