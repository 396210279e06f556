"""Lines of the page's table: a row of a table of scores per generalisation, with its record; they know no
page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation.records.scores import FLOORS, AverageRecord, ComparisonRecord, ScoredKind, ScoreRecord
from evaluation.report.tables.marks import NO_OP, compared
from evaluation.report.tables.model import Comparison, Row, TableCell
from evaluation.report.tables.rows import SCORES, Block, block_rows, leading, score_columns
from ravel.terms.schema import GENERALISATIONS, PARTITIONS, SOURCE_KINDS

__all__ = ["KINDS", "MEAN", "ReportRow", "rows_of"]

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
    """Its numbers, one per score of `SCORES`, with their marks."""
    detail: str
    """Chosen sites and sizes."""
    leads: bool
    """True for the row with the highest disentangle of its group, the first of several; never a floor."""
    against_best: Comparison | None
    """Compared with the row that leads its group; None for that row and where nothing was compared."""
    against_no_op: Comparison | None
    """Compared with doing nothing."""

    @property
    def best(self) -> tuple[bool, ...]:
        """Per score, whether it is the highest of its group; floors never are."""
        return tuple(cell.best for cell in self.cells)

    @property
    def below_no_op(self) -> bool:
        """Tell whether the row is worse than doing nothing."""
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
) -> list[ReportRow]:
    """Return a row per average record, with its marks; attributes, then splits, then methods in order."""
    blocks: dict[tuple[str, str, str], list[AverageRecord]] = {}
    for record in averages:
        attribute = MEAN if record.scope == "macro" else record.attributes[0]
        blocks.setdefault((attribute, record.partition, record.source_kind), []).append(record)
    rows = [row for key, records in blocks.items() for row in _rows(key[0], records, chosen, comparisons)]
    # Methods keep the order that they have in their block.
    return sorted(rows, key=_order)


def _rows(
    attribute: str,
    averages: Sequence[AverageRecord],
    chosen: Sequence[ScoreRecord],
    comparisons: Sequence[ComparisonRecord],
) -> list[ReportRow]:
    """Return the rows of one attribute, partition and source kind."""
    columns = score_columns(averages, averages[0].entity_type)
    block = block_rows(Block(attribute, averages, ()), columns)
    records: Mapping[tuple[str, str], AverageRecord] = {(r.method, r.generalisation): r for r in averages}
    rows = []
    for at in range(0, len(columns), len(SCORES)):
        leader = leading(block, at + SCORES.index("disentangle"))
        for row in block:
            record = records.get((row.label, columns[at].group))
            if record is not None:
                rows.append(_row(row, record, at, leader, chosen, comparisons))
    return rows


def _row(
    row: Row,
    record: AverageRecord,
    at: int,
    leader: Row | None,
    chosen: Sequence[ScoreRecord],
    comparisons: Sequence[ComparisonRecord],
) -> ReportRow:
    split = (record.generalisation, record.partition)
    # Only means over attributes, of all source kinds, are compared.
    known = comparisons if (record.scope, record.source_kind) == ("macro", "all") else ()
    return ReportRow(
        record=record,
        attribute=row.block,
        floor=record.method in FLOORS,
        cells=row.cells[at : at + len(SCORES)],
        detail=_detail(record, chosen),
        leads=row is leader,
        against_best=compared(record.method, None if leader is None else leader.label, known, split),
        against_no_op=compared(record.method, NO_OP, known, split),
    )


def _order(row: ReportRow) -> tuple[str, int, int, int]:
    record = row.record
    return (
        row.attribute,
        GENERALISATIONS.index(record.generalisation),
        -PARTITIONS.index(record.partition),
        KINDS.index(record.source_kind),
    )


def _detail(record: AverageRecord, chosen: Sequence[ScoreRecord]) -> str:
    own = [r for r in chosen if r.method == record.method and r.attribute in record.attributes]
    if not own:
        return ""
    sites, sizes = sorted({r.site for r in own}), sorted({r.size for r in own})
    span = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]}–{sizes[-1]}"
    return f"{', '.join(sites)}; size {span}"
