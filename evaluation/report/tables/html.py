"""A table as an HTML fragment with classes and no style; its template decides how numbers and marks are
written."""

from __future__ import annotations

from itertools import groupby

from evaluation.report.common.templates import filled
from evaluation.report.tables.model import BELOW, DIFFERS, FEWER, TIED, Table, blocks, shared_counts

_MEANINGS = {
    BELOW: "below doing nothing",
    TIED: "not shown to differ from the best",
    FEWER: "mean over fewer parts",
}


def to_html(table: Table) -> str:
    """Return `<div class="scores">` with a table and its notes.

    Every header has a scope, the title is the caption, best numbers are `<strong>`, each mark is an `<abbr>`
    that says its meaning, and `data-value` holds the unrounded number. All text is escaped; there is no style
    and no script, so that it fits into any page.
    """
    values = {
        "table": table,
        "firsts": [*([table.block_header] if table.block_header else []), "method"],
        "groups": [(name, len(list(own))) for name, own in groupby(table.columns, key=lambda c: c.group)],
        # A body for the methods of a block and one for its floors.
        "blocks": [
            (shared_counts(rows), [list(own) for _, own in groupby(rows, key=lambda row: row.floor)])
            for rows in blocks(table)
        ],
        "meanings": {**_MEANINGS, DIFFERS: f"differs from {_baseline(table)}"},
    }
    return filled("evaluation.report.tables", "table.html", values)


def _baseline(table: Table) -> str:
    """Return the row that marked cells differ from."""
    compared = (cell.vs_no_op.other for row in table.rows for cell in row.cells if cell.vs_no_op is not None)
    return next(compared, "")
