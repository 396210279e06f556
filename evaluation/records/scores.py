"""What is written down: an outcome per pair, a score per cell, an average, a comparison; typed, versioned,
torch-free."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from ravel.common.errors import SuiteError
from ravel.common.io import read_jsonl
from ravel.common.typed import check_version, typed_values
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
_MEND = "restore the file from the run that wrote it, or score again"


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
class Outcome:
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

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as plain values."""
        return _plain(self)

    @classmethod
    def from_json(cls, row: dict[str, Any], *, origin: str) -> Outcome:
        """Read an outcome. Raises SuiteError naming `origin` for missing or unknown fields."""
        _check_fields(cls, row, origin)
        return cls(**typed_values(cls, row, origin=origin, todo=_MEND))


@dataclass(frozen=True, slots=True)
class ScoreRecord:
    """One line of `scores.jsonl`. Scores are unrounded; None only with a count of 0."""

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

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain values."""
        return _plain(self)

    @classmethod
    def from_json(cls, row: dict[str, Any], *, origin: str) -> ScoreRecord:
        """Read a record. Raises SuiteError naming `origin` for missing or unknown fields, or a newer
        schema."""
        return cls(**_checked(cls, row, origin))


@dataclass(frozen=True, slots=True)
class AverageRecord:
    """One line of `averages.jsonl`: the chosen point of a method, averaged over seeds and, for `macro`,
    attributes."""

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

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain values."""
        return _plain(self)

    @classmethod
    def from_json(cls, row: dict[str, Any], *, origin: str) -> AverageRecord:
        """Read a record. Raises SuiteError naming `origin` for missing or unknown fields, or a newer
        schema."""
        return cls(**_checked(cls, row, origin))


@dataclass(frozen=True, slots=True)
class ComparisonRecord:
    """One line of `comparisons.jsonl`: macro average of `first` minus that of `second`, on the same pairs."""

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

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain values."""
        return _plain(self)

    @classmethod
    def from_json(cls, row: dict[str, Any], *, origin: str) -> ComparisonRecord:
        """Read a record. Raises SuiteError naming `origin` for missing or unknown fields, or a newer
        schema."""
        return cls(**_checked(cls, row, origin))


@dataclass(frozen=True, slots=True)
class Refusal:
    """One line of `refusals.jsonl`: a method that had no answer for a target attribute, at no point of its
    grid."""

    method: str
    """As on the command line."""
    attribute: str
    """The target attribute."""
    reason: str
    """What the method expected and what it found."""

    def to_json(self) -> dict[str, Any]:
        """Return the refusal as plain values."""
        return _plain(self)

    @classmethod
    def from_json(cls, row: dict[str, Any], *, origin: str) -> Refusal:
        """Read a refusal. Raises SuiteError naming `origin` for missing or unknown fields."""
        _check_fields(cls, row, origin)
        return cls(**typed_values(cls, row, origin=origin, todo=_MEND))


R = TypeVar("R", Outcome, ScoreRecord, AverageRecord, ComparisonRecord, Refusal)


def read_outcomes(path: Path) -> list[Outcome]:
    """Read an outcomes file. Raises SuiteError naming the line that does not fit."""
    return _read(Outcome, path)


def read_scores(path: Path) -> list[ScoreRecord]:
    """Read `scores.jsonl`. Raises SuiteError naming the line that does not fit."""
    return _read(ScoreRecord, path)


def read_averages(path: Path) -> list[AverageRecord]:
    """Read `averages.jsonl`. Raises SuiteError naming the line that does not fit."""
    return _read(AverageRecord, path)


def read_comparisons(path: Path) -> list[ComparisonRecord]:
    """Read `comparisons.jsonl`. Raises SuiteError naming the line that does not fit."""
    return _read(ComparisonRecord, path)


def read_refusals(path: Path) -> list[Refusal]:
    """Read `refusals.jsonl`. Raises SuiteError naming the line that does not fit."""
    return _read(Refusal, path)


def _plain(record: Outcome | ScoreRecord | AverageRecord | ComparisonRecord | Refusal) -> dict[str, Any]:
    # Records are flat; `dataclasses.asdict` copies deeply, which takes ten times as long.
    return {field.name: getattr(record, field.name) for field in fields(record)}


def _read(record: type[R], path: Path) -> list[R]:
    return [record.from_json(row, origin=f"{path}, line {line}") for line, row in read_jsonl(path)]


def _checked(record: type[Any], row: dict[str, Any], origin: str) -> dict[str, Any]:
    if "schema_version" in row:
        check_version(row["schema_version"], SCORE_SCHEMA_VERSION, what="records", origin=origin)
    _check_fields(record, row, origin)
    _check_finite(row, origin)
    return typed_values(record, row, origin=origin, todo=_MEND)


def _check_finite(values: dict[str, Any], origin: str) -> None:
    bad = sorted(n for n, value in values.items() if not all(map(math.isfinite, _floats(value))))
    if bad:
        raise SuiteError(
            expected=f"finite numbers in {origin}",
            came=f"NaN or infinity in {', '.join(bad)}",
            todo="score again",
        )


def _floats(value: Any) -> Iterable[float]:
    values = value if isinstance(value, (list, tuple)) else (value,)
    return (v for v in values if isinstance(v, float))


@lru_cache(maxsize=16)
def _names_of(record: type[Any]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the fields that a record class has, and those that every file has."""
    found = fields(record)
    # A field with a default came later than the first schema: older files lack it.
    needed = frozenset(field.name for field in found if field.default is MISSING)
    return frozenset(field.name for field in found), needed


def _check_fields(record: type[Any], row: dict[str, Any], origin: str) -> None:
    known, needed = _names_of(record)  # type: ignore[arg-type]  # a class is hashable
    if row.keys() == known:
        return
    missing, unknown = sorted(needed - row.keys()), sorted(row.keys() - known)
    if missing or unknown:
        raise SuiteError(
            expected=f"the fields of a {record.__name__} in {origin}",
            came=f"missing: {', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}",
            todo="use a file written by this version of ravel-bench",
        )
