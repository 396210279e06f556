"""Average records become rows: their order, their cells, which is best and which lack a part.

Every table of scores and the page take it from here; it knows neither of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evaluation.records.scores import AverageRecord, ScoreRecord, is_control
from evaluation.report.tables.model import Column, Place, Row, TableCell
from evaluation.report.tables.notes import sites_text
from evaluation.scoring.mean import mean
from evaluation.scoring.track import Track
from ravel.terms.schema import GENERALISATIONS

MEAN = "mean"
"""Name of a column, or a block, that is a mean over the others."""
_Split = tuple[str, str]
"""A generalisation and an entity type."""


@dataclass(frozen=True, slots=True)
class Block:
    """What the rows of one block are made of."""

    name: str
    """As in `Row.block`."""
    averages: Sequence[AverageRecord]
    """At most one per method, generalisation and entity type."""
    points: Sequence[ScoreRecord]
    """Chosen records, for sites and sizes."""
    refused: Collection[str] = ()
    """Methods that have a row even without a score."""


def score_columns(
    averages: Sequence[AverageRecord], entity_type: str, track: Track[Any]
) -> tuple[Column, ...]:
    """Return a column per generalisation of the records and measure of the track."""
    return tuple(Column(g, m, m, entity_type) for g in _generalisations(averages) for m in track.names)


def type_columns(
    averages: Sequence[AverageRecord], types: Sequence[str], track: Track[Any]
) -> tuple[Column, ...]:
    """Return a column of the criterion per generalisation of the records and entity type, and one for the
    mean over types."""
    names = [*((name, name) for name in types), (MEAN, "")]
    return tuple(
        Column(g, name, track.criterion, entity_type)
        for g in _generalisations(averages)
        for name, entity_type in names
    )


def block_rows(block: Block, columns: Sequence[Column], track: Track[Any]) -> list[Row]:
    """Return the rows of a block, the best of each column marked: methods by name, then the track's
    references in their own order, then controls."""
    records: dict[str, dict[_Split, AverageRecord]] = {}
    attributes: dict[_Split, set[str]] = {}
    for record in block.averages:
        split = (record.generalisation, record.entity_type)
        records.setdefault(record.method, {})[split] = record
        attributes.setdefault(split, set()).update(record.attributes)
    model = next(iter([*(r.model for r in block.points), *(r.model for r in block.averages)]), "")
    rows = []
    for method in ordered_methods({*records, *block.refused}, track):
        points = [record for record in block.points if record.method == method]
        cells = tuple(_cells(records.get(method, {}), attributes, columns, track))
        place = place_of(points, model)
        rows.append(Row(block.name, method, detail_of(points), track.set_apart(method), cells, place))
    return _with_best(rows, columns, track)


def leading(rows: Sequence[Row], at: int, measure: str, track: Track[Any]) -> Row | None:
    """Return the row with the best number in a column of a measure, the first of several; None if there is
    none.

    No reference, no control and no mean over fewer parts can be it.
    """
    contenders = [row for row in rows if not row.floor and not row.cells[at].fewer]
    valued = [(value, row) for row in contenders if (value := row.cells[at].value) is not None]
    return max(valued, key=lambda found: track.merit(measure, found[0]))[1] if valued else None


def ordered_methods(methods: Collection[str], track: Track[Any]) -> list[str]:
    """Return methods by name, then the track's references in their own order, then the controls by name."""

    def place(method: str) -> tuple[int, str]:
        if is_control(method):
            return len(track.floors) + 1, method
        return track.floors.index(method) + 1 if method in track.floors else 0, method

    return sorted(methods, key=place)


def detail_of(points: Sequence[ScoreRecord]) -> str:
    """Return the sites and sizes of chosen points as text; empty if there are none."""
    sizes = sorted({record.size for record in points})
    if not sizes:
        return ""
    span = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]}-{sizes[-1]}"
    return f"{sites_text({record.site for record in points})}; size {span}"


def place_of(points: Sequence[ScoreRecord], model: str) -> Place:
    """Return the model and the sites, sizes and seeds of chosen points."""
    return Place(
        model,
        tuple(sorted({record.site for record in points})),
        tuple(sorted({record.size for record in points})),
        tuple(sorted({record.seed for record in points})),
    )


def _generalisations(averages: Sequence[AverageRecord]) -> list[str]:
    present = {record.generalisation for record in averages}
    return [g for g in GENERALISATIONS if g in present]


def _cells(
    own: Mapping[_Split, AverageRecord],
    attributes: Mapping[_Split, set[str]],
    columns: Sequence[Column],
    track: Track[Any],
) -> list[TableCell]:
    cells: list[TableCell] = []
    for column in columns:
        if (column.name, column.entity_type) == (MEAN, ""):
            group = [cell for cell, other in zip(cells, columns, strict=False) if other.group == column.group]
            cells.append(_mean_cell(group, track))
        else:
            split = (column.group, column.entity_type)
            cells.append(_cell(own.get(split), column.score, attributes.get(split, set()), track))
    return cells


def _cell(record: AverageRecord | None, measure: str, attributes: set[str], track: Track[Any]) -> TableCell:
    if record is None:
        return TableCell()
    value = record.value(measure)
    return TableCell(
        value,
        record.interval(measure),
        record.n(measure),
        below_no_op=measure == track.criterion and _below_nothing(value, track),
        fewer=value is not None and set(record.attributes) != attributes,
    )


def _mean_cell(group: Sequence[TableCell], track: Track[Any]) -> TableCell:
    known = [cell for cell in group if cell.value is not None]
    value = mean([cell.value for cell in known])
    return TableCell(
        value,
        None,
        sum(cell.n for cell in known),
        below_no_op=_below_nothing(value, track),
        fewer=value is not None and (len(known) < len(group) or any(cell.fewer for cell in known)),
    )


def _below_nothing(value: float | None, track: Track[Any]) -> bool:
    """Tell whether a value of the criterion is worse than what doing nothing has."""
    if value is None or track.nothing_scores is None:
        return False
    return track.merit(track.criterion, value) < track.merit(track.criterion, track.nothing_scores)


def _with_best(rows: Sequence[Row], columns: Sequence[Column], track: Track[Any]) -> list[Row]:
    """Mark the best of each column, unless there is one method alone: it would be the best of nothing."""
    if sum(not row.floor and any(cell.value is not None for cell in row.cells) for row in rows) < 2:
        return list(rows)
    leaders = [leading(rows, at, column.score, track) for at, column in enumerate(columns)]
    tops = [None if leader is None else leader.cells[at].value for at, leader in enumerate(leaders)]
    return [row if row.floor else _best_marked(row, tops) for row in rows]


def _best_marked(row: Row, tops: Sequence[float | None]) -> Row:
    marked = [
        replace(cell, best=cell.value is not None and cell.value == top and not cell.fewer)
        for cell, top in zip(row.cells, tops, strict=True)
    ]
    return replace(row, cells=tuple(marked))
