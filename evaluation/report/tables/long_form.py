"""A table with one line per number, nothing rounded: CSV for spreadsheets and other programs, Parquet for
frames, with types and without escapes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from evaluation.report.tables.model import Comparison, Table

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
    "passes",
)
_TYPES = {
    **dict.fromkeys(("value", "low", "high", "vs_best_p", "vs_no_op_p"), "float64"),
    **dict.fromkeys(("floor", "best", "below_no_op", "fewer"), "bool"),
    **dict.fromkeys(("n", "passes"), "Int64"),
}
"""Types of Parquet's columns that are no text; a table without a number has them too."""


def to_csv(table: Table) -> str:
    """Return the table in long form under `HEADER`; what is missing is an empty field, flags are 0 or 1, and
    of several sites, sizes or seeds there is a blank between them.

    A text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows([_cell(value) for value in values] for values in long_rows(table))
    return text.getvalue()


def to_parquet(table: Table) -> bytes:
    """Return the bytes of a Parquet file with the columns of CSV; missing numbers are null, flags are
    truth values, and a text stands as it is."""
    import pandas as pd

    frame = pd.DataFrame(list(long_rows(table)), columns=list(HEADER)).astype(_TYPES)
    file = io.BytesIO()
    frame.to_parquet(file, index=False)
    return file.getvalue()


def long_rows(table: Table) -> Iterator[tuple[str | float | int | bool | None, ...]]:
    """Yield the values of each line under `HEADER`, as they are."""
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            low, high = cell.interval or (None, None)
            yield (
                *(table.name, row.place.model, row.block, row.label, row.floor),
                *(column.group, column.entity_type, column.score, cell.value, low, high, cell.n),
                *(cell.best, cell.below_no_op, cell.fewer),
                *_versus(cell.vs_best),
                *_versus(cell.vs_no_op),
                *(_several(row.place.sites), _several(row.place.sizes), _several(row.place.seeds)),
                *(row.detail, row.place.passes),
            )


def _several(values: Sequence[object]) -> str:
    return " ".join(map(str, values))


def _versus(found: Comparison | None) -> tuple[str, float | None]:
    return ("", None) if found is None else (found.relation, found.p)


def _cell(value: str | float | int | bool | None) -> str | int:
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        return f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
    return int(value)
