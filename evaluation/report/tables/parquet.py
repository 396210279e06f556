"""A table as Parquet, a row per number as in CSV: for frames, with types and without escapes."""

from __future__ import annotations

import io

from evaluation.report.tables.csv import HEADER, long_rows
from evaluation.report.tables.model import Table

_TYPES = {
    **dict.fromkeys(("value", "low", "high", "vs_best_p", "vs_no_op_p"), "float64"),
    **dict.fromkeys(("floor", "best", "below_no_op", "fewer"), "bool"),
    "n": "Int64",
}
"""Types of columns that are no text; a table without a number has them too."""


def to_parquet(table: Table) -> bytes:
    """Return the bytes of a Parquet file with the columns of CSV; missing numbers are null, flags are
    truth values, and a text stands as it is."""
    import pandas as pd

    frame = pd.DataFrame(list(long_rows(table)), columns=list(HEADER)).astype(_TYPES)
    file = io.BytesIO()
    frame.to_parquet(file, index=False)
    return file.getvalue()
