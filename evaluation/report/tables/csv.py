"""A table as CSV, one line per number, nothing rounded: for spreadsheets and other programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from evaluation.report.tables.model import Comparison, Table

__all__ = ["HEADER", "to_csv"]

HEADER = (
    "table",
    "model",
    "block",
    "method",
    "floor",
    "generalisation",
    "entity_type",
    "score",
    "value",
    "low",
    "high",
    "n",
    "best",
    "below_no_op",
    "fewer",
    "vs_best",
    "vs_best_p",
    "vs_no_op",
    "vs_no_op_p",
    "site",
    "size",
    "seed",
    "detail",
)


def to_csv(table: Table) -> str:
    """Return the table in long form under `HEADER`; what is missing is an empty field, flags are 0 or 1, and
    of several sites, sizes or seeds there is a blank between them.

    A text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            low, high = cell.interval or (None, None)
            subject = [_text(column.group), _text(column.entity_type), column.score]
            names = [
                table.name,
                _text(row.place.model),
                _text(row.block),
                _text(row.label),
                int(row.floor),
                *subject,
            ]
            numbers = [_number(cell.value), _number(low), _number(high), cell.n]
            flags = [int(cell.best), int(cell.below_no_op), int(cell.fewer)]
            versus = [*_versus(cell.vs_best), *_versus(cell.vs_no_op)]
            places = [_several(row.place.sites), _several(row.place.sizes), _several(row.place.seeds)]
            writer.writerow([*names, *numbers, *flags, *versus, *places, _text(row.detail)])
    return text.getvalue()


def _several(values: Sequence[object]) -> str:
    return _text(" ".join(map(str, values)))


def _text(text: str) -> str:
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _versus(found: Comparison | None) -> tuple[str, str]:
    return ("", "") if found is None else (found.relation, _number(found.p))


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)
