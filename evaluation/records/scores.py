"""What is written down: an outcome per pair, a score per cell, an average, a comparison; typed, versioned,
torch-free."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from typing_extensions import Self

from evaluation.records.measured import (
    FIRST_METRIC,
    INTERCHANGE,
    Interval,
    Measured,
    MeasuredRecord,
    names_in,
)
from ravel.common.errors import SuiteError
from ravel.common.io import read_lines, sha256_text
from ravel.common.strict_json import JsonError, parse_json
from ravel.common.typed import Record
from ravel.terms.schema import Generalisation, InterchangePair, Partition, SourceKind

__all__ = [
    "CONTROL_MARK",
    "SCORE_SCHEMA_VERSION",
    "AverageRecord",
    "ComparisonRecord",
    "Interval",
    "JudgedCase",
    "Outcome",
    "Refusal",
    "ScoreRecord",
    "ScoredKind",
    "control_row",
    "is_control",
    "is_template_name",
    "read_averages",
    "read_comparisons",
    "read_refusals",
    "read_scores",
    "template_name",
]

SCORE_SCHEMA_VERSION = 2
CONTROL_MARK = "~"
"""Stands between a method and the control it is under, in the names of rows: `mdas~labels_shuffled`."""
_KNOWN_LINES = 1 << 16
"""Lines of outcomes that are remembered: a large run's pairs with each verdict, in about 60 MiB."""
_CONTROLLED = re.compile(rf"\w+{CONTROL_MARK}\w+")
_TEMPLATE_NAME = re.compile(r"sha256:[0-9a-f]{16}")

ScoredKind = SourceKind | Literal["all"]
"""Which pairs a score counts: those of one source kind, or all of them."""


def control_row(method: str, control: str) -> str:
    """Return the name of the row of a method under a control."""
    return f"{method}{CONTROL_MARK}{control}"


def is_control(method: str) -> bool:
    """Tell whether a row is a control: it must fail, and is never compared with the others."""
    return _CONTROLLED.fullmatch(method) is not None


def template_name(text: str) -> str:
    """Return what a template is called where its text is not to be told: the beginning of its SHA-256."""
    return f"sha256:{sha256_text(text)[:16]}"


def is_template_name(text: str) -> bool:
    """Tell whether a text is what `template_name` returns."""
    return _TEMPLATE_NAME.fullmatch(text) is not None


class JudgedCase(Record):
    """Base of outcomes: flat records of what was judged, and of the verdict on it; each track has its own."""

    __slots__ = ()
    WORD: ClassVar[str]
    """What a case is called, in the singular."""
    ID: ClassVar[str]
    """The field by which a case is told from the others of its split."""
    VERDICT: ClassVar[tuple[str, ...]]
    """The fields that judging gives; all others are those of the case."""
    attribute: str
    base_template: str
    base_entity: str

    @property
    def case_id(self) -> str:
        """What is in the field `ID`."""
        found: str = getattr(self, self.ID)
        return found

    def fault(self) -> str | None:
        """Return what about the verdict can't be, in words; None if all is well."""
        return None

    def named(self) -> dict[str, Any]:
        """Return the outcome as plain values, with its template's name in place of its text."""
        return {**self.to_json(), "base_template": template_name(self.base_template)}

    @classmethod
    def read(cls, path: Path) -> list[Self]:
        """Read a file as `Record.read` does. The cells of a run judge the same cases, so that equal lines are
        read once and are one object."""
        try:
            known = _known_lines(cls)  # type: ignore[arg-type]  # mypy takes no class for a Hashable
            return [known[line] for line in read_lines(path)]
        except (JsonError, SuiteError):
            # Only the plain way knows which line it is.
            return super().read(path)

    @classmethod
    def case_fields(cls, case: object) -> dict[str, Any]:
        """Return the fields of a case, or of an outcome, without the verdict's."""
        names = (field.name for field in fields(cls))  # type: ignore[arg-type]  # every subclass is a dataclass
        return {name: getattr(case, name) for name in names if name not in cls.VERDICT}


class _KnownLines(dict[str, Any]):
    """Outcomes of one kind by their lines. A lookup is most of what reading takes, so that it is a dict's."""

    def __init__(self, kind: type[JudgedCase]) -> None:
        super().__init__()
        self._kind = kind

    def __missing__(self, line: str) -> JudgedCase:
        if len(self) >= _KNOWN_LINES:
            self.clear()
        self[line] = found = self._kind.from_json(parse_json(line), origin="a line of outcomes")
        return found


@lru_cache(maxsize=16)
def _known_lines(kind: type[JudgedCase]) -> _KnownLines:
    return _KnownLines(kind)


@dataclass(frozen=True, slots=True)
class Outcome(JudgedCase):
    """What the model said for one pair after the interchange, judged against both answers; no target is
    assumed."""

    WORD, ID, VERDICT = "pair", "pair_id", ("said_swapped", "said_unchanged")

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

    @classmethod
    def of(cls, pair: InterchangePair, *, said_swapped: bool, said_unchanged: bool) -> Outcome:
        """Return the outcome of a pair."""
        return cls(
            pair_id=pair.pair_id,
            attribute=pair.attribute,
            base_template=pair.base_template,
            base_entity=pair.base_entity,
            source_entity=pair.source_entity,
            source_kind=pair.source_kind,
            said_swapped=said_swapped,
            said_unchanged=said_unchanged,
        )

    def fault(self) -> str | None:
        """Return what about the verdict can't be: both answers said."""
        return "both answers said" if self.said_swapped and self.said_unchanged else None


@dataclass(frozen=True, slots=True)
class ScoreRecord(MeasuredRecord):
    """One line of `scores.jsonl`. Scores are unrounded."""

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
    measures: Mapping[str, Measured]
    """What its track measures, by name: of interchange `cause`, `isolate` and `disentangle`."""
    chosen: bool
    """True for the point that selection on validation pairs picked."""
    source_kind: ScoredKind = "all"
    """Which pairs count; a breakdown by kind is kept for chosen points on test pairs. New in version 2."""
    track: str = INTERCHANGE
    """What was asked of the featurizer."""
    metric: str = FIRST_METRIC
    """Version of the rule from outcomes to measures."""


@dataclass(frozen=True, slots=True)
class AverageRecord(MeasuredRecord):
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
    measures: Mapping[str, Measured]
    """Means, with what attributes and seeds share counted as shared. Cases are counted for each attribute: an
    interchange pair serves as isolate pair of several."""
    source_kind: ScoredKind = "all"
    """Which pairs count. New in version 2."""
    track: str = INTERCHANGE
    """What was asked of the featurizers."""
    metric: str = FIRST_METRIC
    """Version of the rule from outcomes to measures."""


@dataclass(frozen=True, slots=True)
class ComparisonRecord(MeasuredRecord):
    """One line of `comparisons.jsonl`: macro average of `first` minus that of `second`, on the same pairs."""

    SCHEMA, COUNTED = SCORE_SCHEMA_VERSION, False
    UNLIKE = ("measures", "track", "metric", "tested", "p", "p_adjusted")

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
    measures: Mapping[str, Measured]
    """Differences of the macro averages; an interval excludes 0 where the two methods differ."""
    tested: str = "disentangle"
    """The measure that the p-values are of; on disk they bear its name, as `disentangle_p`."""
    p: float | None = None
    """Two-sided p-value of no difference, below 0.05 exactly if the interval excludes 0. New in version 2."""
    p_adjusted: float | None = None
    """The same, adjusted for all comparisons of this split at once (Holm 1979). New in version 2."""
    track: str = INTERCHANGE
    """What was asked of the featurizers."""
    metric: str = FIRST_METRIC
    """Version of the rule from outcomes to measures."""

    def flat(self) -> dict[str, Any]:
        """Return what of the measures stands in a line, p-values included."""
        p_values = {f"{self.tested}_p": self.p, f"{self.tested}_p_adjusted": self.p_adjusted}
        return MeasuredRecord.flat(self) | p_values

    @classmethod
    def _typed(cls, row: Mapping[str, Any], origin: str, but: tuple[str, ...]) -> dict[str, Any]:
        # By its name: a class with slots is made twice, and a bare `super` would look for the first.
        values = super(ComparisonRecord, cls)._typed(row, origin, but)
        tested = cls._tested_in(row)
        p_values = {"p": values.get(f"{tested}_p"), "p_adjusted": values.get(f"{tested}_p_adjusted")}
        return values | {"tested": tested} | p_values

    @classmethod
    def _keys(cls, row: Mapping[str, Any]) -> dict[str, Any]:
        p_values = (f"{cls._tested_in(row)}_p", f"{cls._tested_in(row)}_p_adjusted")
        # Version 1 has none.
        return super(ComparisonRecord, cls)._keys(row) | {key: float | None for key in p_values if key in row}

    @staticmethod
    def _tested_in(row: Mapping[str, Any]) -> str:
        return next((name for name in names_in(row) if f"{name}_p" in row), "disentangle")


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
