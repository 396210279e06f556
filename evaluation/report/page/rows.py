"""Lines of the page's table from average records: marks, comparisons, chosen points; they know no page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.records.scores import (
    FLOORS,
    NO_OP_DISENTANGLE,
    AverageRecord,
    ComparisonRecord,
    Interval,
    ScoredKind,
    ScoreRecord,
)
from evaluation.report.tables.build import SCORES
from ravel.terms.schema import GENERALISATIONS, PARTITIONS, SOURCE_KINDS

__all__ = ["KINDS", "MEAN", "Against", "ReportRow", "against", "contending", "leading", "rows_of"]

MEAN = ""
"""Stands for the mean over attributes where an attribute would stand."""
KINDS: tuple[ScoredKind, ...] = ("all", *SOURCE_KINDS)
"""Which pairs a row can count, in the order of tables."""


@dataclass(frozen=True, slots=True)
class Against:
    """A row's disentangle minus that of another row, on the same pairs."""

    other: str
    """The other method."""
    difference: float
    """Positive where the row is better."""
    interval: Interval | None
    """95 % interval of the difference."""
    p: float | None
    """Adjusted p-value, or None where the run has none."""

    @property
    def differs(self) -> bool:
        """Tell whether the two differ: adjusted p below 0.05 or, without one, an interval that excludes 0."""
        if self.p is not None:
            return self.p < 0.05
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One line of the page's table."""

    record: AverageRecord
    """The scores."""
    attribute: str
    """The target attribute, or `MEAN`."""
    floor: bool
    """True for methods that learn nothing of the attribute."""
    best: tuple[bool, ...]
    """Per score, whether it is the highest of its group; floors never are."""
    detail: str
    """Chosen sites and sizes."""
    against_best: Against | None
    """Compared with the best row of its group; None for that row itself, and where nothing was compared."""
    against_no_op: Against | None
    """Compared with doing nothing."""
    fewer: bool = False
    """A mean over fewer attributes than other rows', for the method had no answer for the rest."""

    @property
    def below_no_op(self) -> bool:
        """Tell whether the row is worse than doing nothing."""
        value = self.record.disentangle
        return value is not None and value < NO_OP_DISENTANGLE


def rows_of(
    averages: Sequence[AverageRecord],
    chosen: Sequence[ScoreRecord],
    comparisons: Sequence[ComparisonRecord],
) -> list[ReportRow]:
    """Return a row per average record, with its marks; attributes, then splits, then methods in order."""
    groups: dict[tuple[str, str, str, str], list[AverageRecord]] = {}
    for record in averages:
        groups.setdefault(_group(record), []).append(record)
    rows = []
    for key in sorted(groups, key=_group_order):
        rows += _group_rows(groups[key], chosen, comparisons)
    return rows


def against(
    record: AverageRecord, other: str | None, comparisons: Sequence[ComparisonRecord]
) -> Against | None:
    """Return the recorded comparison of a mean over attributes with another method, seen from the former."""
    if record.scope != "macro" or record.source_kind != "all" or other in (None, record.method):
        return None
    for found in comparisons:
        same = (found.generalisation, found.partition) == (record.generalisation, record.partition)
        if same and found.disentangle is not None and {found.first, found.second} == {record.method, other}:
            sign = 1 if found.first == record.method else -1
            ends = found.disentangle_interval
            interval = None if ends is None else (min(sign * e for e in ends), max(sign * e for e in ends))
            assert other is not None
            return Against(other, sign * found.disentangle, interval, found.disentangle_p_adjusted)
    return None


def _group(record: AverageRecord) -> tuple[str, str, str, str]:
    attribute = MEAN if record.scope == "macro" else record.attributes[0]
    return attribute, record.generalisation, record.partition, record.source_kind


def _group_order(key: tuple[str, str, str, str]) -> tuple[str, int, int, int]:
    attribute, generalisation, partition, kind = key
    generalisations: Sequence[str] = GENERALISATIONS
    partitions: Sequence[str] = PARTITIONS
    kinds: Sequence[str] = KINDS
    return (
        attribute,
        generalisations.index(generalisation),
        -partitions.index(partition),
        kinds.index(kind),
    )


def _group_rows(
    records: Sequence[AverageRecord],
    chosen: Sequence[ScoreRecord],
    comparisons: Sequence[ComparisonRecord],
) -> list[ReportRow]:
    contenders = contending(records)
    tops = [_top(contenders, score) for score in SCORES]
    leader = leading(contenders)
    marked = len(contenders) > 1
    return [
        ReportRow(
            record=record,
            attribute=_group(record)[0],
            floor=record.method in FLOORS,
            best=tuple(
                marked and record in contenders and top is not None and getattr(record, score) == top
                for score, top in zip(SCORES, tops, strict=True)
            ),
            detail=_detail(record, chosen),
            against_best=against(record, None if leader is None else leader.method, comparisons),
            fewer=record.method not in FLOORS and record not in contenders,
            against_no_op=against(record, "no_op", comparisons),
        )
        for record in sorted(records, key=_method_order)
    ]


def contending(records: Sequence[AverageRecord]) -> list[AverageRecord]:
    """Return the rows that can be the best of their group: no floors, no means over fewer attributes than
    the others', for those are not the same mean."""
    most = max((len(record.attributes) for record in records), default=0)
    return [r for r in records if r.method not in FLOORS and len(r.attributes) == most]


def leading(contenders: Sequence[AverageRecord]) -> AverageRecord | None:
    """Return the row with the highest disentangle, the first by name of several; None if none has a score."""
    scored = [r for r in contenders if r.disentangle is not None]
    return min(scored, key=lambda r: (-(r.disentangle or 0.0), r.method), default=None)


def _top(records: Sequence[AverageRecord], score: str) -> float | None:
    values = [value for record in records if (value := getattr(record, score)) is not None]
    return max(values, default=None)


def _method_order(record: AverageRecord) -> tuple[int, str]:
    return (FLOORS.index(record.method) + 1 if record.method in FLOORS else 0, record.method)


def _detail(record: AverageRecord, chosen: Sequence[ScoreRecord]) -> str:
    own = [r for r in chosen if r.method == record.method and r.attribute in record.attributes]
    sites, sizes = sorted({r.site for r in own}), sorted({r.size for r in own})
    if not own:
        return ""
    span = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]}–{sizes[-1]}"
    return f"{', '.join(sites)}; size {span}"
