"""A table as CSV, one line per number, nothing rounded: for spreadsheets and other programs."""

from __future__ import annotations

import csv
import io

from evaluation.tables.model import Table

__all__ = ["HEADER", "to_csv"]

HEADER = (
    "table",
    "block",
    "method",
    "floor",
    "generalisation",
    "score",
    "value",
    "low",
    "high",
    "n",
    "best",
    "below_no_op",
    "detail",
)


def to_csv(table: Table) -> str:
    """Return the table in long form under `HEADER`; what is missing is an empty field, flags are 0 or 1."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            low, high = cell.interval or (None, None)
            numbers = [_number(cell.value), _number(low), _number(high), cell.n]
            names = [table.name, row.block, row.label, int(row.floor), column.group, column.name]
            writer.writerow([*names, *numbers, int(cell.best), int(cell.below_no_op), row.detail])
    return text.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)
