"""Lines of the page's table: a row of a table of scores per generalisation, with its record; they know no
page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.records.scores import AverageRecord, ComparisonRecord, ScoredKind, ScoreRecord
from evaluation.report.tables.marks import compared
from evaluation.report.tables.model import Comparison, Row, TableCell
from evaluation.report.tables.rows import Block, block_rows, leading, score_columns
from evaluation.scoring.track import Track
from ravel.common.seeds import grouped
from ravel.terms.schema import GENERALISATIONS, PARTITIONS, SOURCE_KINDS

MEAN = ""
"""Stands for the mean over attributes where an attribute would stand."""
KINDS: tuple[ScoredKind, ...] = ("all", *SOURCE_KINDS)
"""Which pairs a row can count, in the order of tables."""


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One line of the page's table."""

    record: AverageRecord
    """The scores."""
    attribute: str
    """The target attribute, or `MEAN`."""
    floor: bool
    """True for methods that learn nothing of the attribute."""
    cells: tuple[TableCell, ...]
    """Its numbers, one per measure of the track, with their marks."""
    detail: str
    """Chosen sites and sizes."""
    leads: bool
    """True for the row with the best criterion of its group, the first of several; never a floor."""
    against_best: Comparison | None
    """Compared with the row that leads its group; None for that row and where nothing was compared."""
    against_baseline: Comparison | None
    """Compared with the track's baseline."""

    @property
    def best(self) -> tuple[bool, ...]:
        """Per measure, whether it is the highest of its group; floors never are."""
        return tuple(cell.best for cell in self.cells)

    @property
    def below_nothing(self) -> bool:
        """Tell whether the row's number is worse than what doing nothing scores; `against_baseline` says
        whether that is shown."""
        return any(cell.below_no_op for cell in self.cells)

    @property
    def fewer(self) -> bool:
        """Tell whether it is a mean over fewer attributes than other rows', for the method had no answer for
        the rest."""
        return not self.floor and any(cell.fewer for cell in self.cells)


def rows_of(
    averages: Sequence[AverageRecord],
    chosen: Sequence[ScoreRecord],
    comparisons: Sequence[ComparisonRecord],
    track: Track[Any],
) -> list[ReportRow]:
    """Return a row per average record, with its marks; attributes, then splits, then methods in order."""
    blocks = grouped(averages, lambda r: (_attribute(r), r.partition, r.source_kind))
    make = _RowMaker(chosen, comparisons, track)
    rows = [row for key, records in blocks.items() for row in make.rows(key[0], records)]
    # Methods keep the order that they have in their block.
    return sorted(rows, key=_order)


@dataclass(frozen=True, slots=True)
class _RowMaker:
    """What rows are made with beside their averages."""

    chosen: Sequence[ScoreRecord]
    comparisons: Sequence[ComparisonRecord]
    track: Track[Any]

    def rows(self, attribute: str, averages: Sequence[AverageRecord]) -> list[ReportRow]:
        """Return the rows of one attribute, partition and source kind."""
        names, criterion = self.track.names, self.track.criterion
        columns = score_columns(averages, averages[0].entity_type, self.track)
        block = block_rows(Block(attribute, averages, ()), columns, self.track)
        records: Mapping[tuple[str, str], AverageRecord] = {(r.method, r.generalisation): r for r in averages}
        rows = []
        for at in range(0, len(columns), len(names)):
            leader = leading(block, at + names.index(criterion), criterion, self.track)
            for row in block:
                record = records.get((row.label, columns[at].group))
                if record is not None:
                    rows.append(self._row(row, record, at, leader))
        return rows

    def _row(self, row: Row, record: AverageRecord, at: int, leader: Row | None) -> ReportRow:
        split = (record.generalisation, record.partition)
        # Only means over attributes, of all source kinds, are compared.
        known = self.comparisons if (record.scope, record.source_kind) == ("macro", "all") else ()
        return ReportRow(
            record=record,
            attribute=row.block,
            floor=record.method in self.track.floors,
            cells=row.cells[at : at + len(self.track.names)],
            detail=detail_of(record, self.chosen),
            leads=row is leader,
            against_best=compared(record.method, None if leader is None else leader.label, known, split),
            against_baseline=compared(record.method, self.track.baseline, known, split),
        )


def _attribute(record: AverageRecord) -> str:
    return MEAN if record.scope == "macro" else record.attributes[0]


def _order(row: ReportRow) -> tuple[str, int, int, int]:
    record = row.record
    return (
        row.attribute,
        GENERALISATIONS.index(record.generalisation),
        -PARTITIONS.index(record.partition),
        KINDS.index(record.source_kind),
    )


def points_of(record: AverageRecord, chosen: Sequence[ScoreRecord]) -> list[ScoreRecord]:
    """Return the chosen points of what a record averages."""
    return [r for r in chosen if r.method == record.method and r.attribute in record.attributes]


def detail_of(record: AverageRecord, chosen: Sequence[ScoreRecord]) -> str:
    """Return the sites and sizes that were chosen for what a record averages."""
    own = points_of(record, chosen)
    if not own:
        return ""
    sites, sizes = sorted({r.site for r in own}), sorted({r.size for r in own})
    span = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]}–{sizes[-1]}"
    return f"{', '.join(sites)}; size {span}"
