"""The table of isolate where values stay and where they change from base to source; it computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evaluation.records.breakdowns import ALL_OTHERS, PARTS, BreakdownRecord
from evaluation.records.measured import INTERCHANGE
from evaluation.records.scores import ScoreRecord
from evaluation.report.tables.model import Column, Row, Table, TableCell
from evaluation.report.tables.notes import floor_note
from evaluation.report.tables.rows import detail_of, ordered_methods, place_of
from evaluation.scoring.track import Track
from evaluation.tracks import TRACKS
from ravel.checking.dependence import BOUND_REDUCTION, BOUND_SHARE
from ravel.common.errors import SuiteError
from ravel.terms.schema import GENERALISATIONS


def dependence_table(scores: Sequence[ScoreRecord], breakdowns: Sequence[BreakdownRecord]) -> Table:
    """Return the table method x generalisation x part of isolate, a block per target and attribute that stays
    or changes, the target itself first.

    `breakdowns` are those of one run; of them the ones for all asked attributes together are shown. `scores`
    say which point was chosen. Raises SuiteError if there are none.
    """
    shown = [record for record in breakdowns if record.asked == ALL_OTHERS]
    if not shown:
        raise SuiteError(
            expected="isolate by dependence to make a table of",
            came="none: it needs the run's instance and the outcomes of its chosen points on test pairs",
            todo="give a finished run's whole folder, with instance/ and cells/",
        )
    points = [r for r in scores if r.chosen and r.partition == "test" and r.source_kind == "all"]
    track = TRACKS.get(INTERCHANGE)
    columns, model = _columns(shown), points[0].model if points else shown[0].model
    rows = [
        row
        for target in sorted({record.attribute for record in shown})
        for by in _compared([record for record in shown if record.attribute == target], target)
        for row in _block(target, by, shown, columns, points, track)
    ]
    return Table(
        name="dependence",
        title=f"Isolate where a value stays the same and where it changes between base and source, "
        f"{shown[0].entity_type} with {model}, {shown[0].partition} pairs",
        block_header="target: compared",
        columns=columns,
        rows=tuple(rows),
        notes=_notes(shown, track),
    )


def _columns(shown: Sequence[BreakdownRecord]) -> tuple[Column, ...]:
    present = {record.generalisation for record in shown}
    return tuple(
        Column(generalisation, part, "isolate", shown[0].entity_type)
        for generalisation in GENERALISATIONS
        if generalisation in present
        for part in PARTS
    )


def _compared(own: Sequence[BreakdownRecord], target: str) -> list[str]:
    return [target, *sorted({record.by for record in own} - {target})]


def _block(
    target: str,
    by: str,
    shown: Sequence[BreakdownRecord],
    columns: Sequence[Column],
    points: Sequence[ScoreRecord],
    track: Track[Any],
) -> list[Row]:
    own: dict[tuple[str, str, str], BreakdownRecord] = {
        (r.method, r.generalisation, r.part): r for r in shown if r.attribute == target and r.by == by
    }
    rows = []
    for method in ordered_methods({key[0] for key in own}, track):
        cells = [_cell(own, method, column) for column in columns]
        own_points = [r for r in points if (r.method, r.attribute) == (method, target)]
        place = place_of(own_points, points[0].model if points else shown[0].model)
        detail, floor = detail_of(own_points), method in track.floors
        rows.append(Row(f"{target}: {by}", method, detail, floor, tuple(cells), place))
    return rows


def _cell(own: dict[tuple[str, str, str], BreakdownRecord], method: str, column: Column) -> TableCell:
    record = own.get((method, column.group, column.name))
    if record is None:
        return TableCell()
    return TableCell(record.isolate, record.isolate_interval, record.n)


def _notes(shown: Sequence[BreakdownRecord], track: Track[Any]) -> tuple[str, ...]:
    empty: dict[str, None] = {}
    for record in shown:
        if record.reason is not None:
            where = f"{record.attribute}: {record.by}, {record.generalisation} {record.part}"
            empty.setdefault(f"No pairs for {where}: {record.reason}.")
    return (
        "Same: base and source entity have the same value of the compared attribute, as the model says it. "
        "Where the target's own value is the same, an ideal swap changes nothing.",
        f"Compared are the target and the attributes that are bound to it: one tells the other for "
        f"{BOUND_SHARE:.0%} of left-out entities and avoids {BOUND_REDUCTION:.0%} of the errors of guessing "
        "the commonest value.",
        "In brackets: 95 % interval. Mean over templates, asked attributes and seeds; the two parts need not "
        "hold the same attributes.",
        *floor_note({record.method for record in shown}, track),
        *empty,
    )
