"""A table as an HTML fragment with classes and no style; it decides nothing but how numbers and marks are
written."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import groupby

from evaluation.report.tables.model import (
    BELOW,
    DIFFERS,
    FEWER,
    TIED,
    Column,
    Row,
    Table,
    TableCell,
    blocks,
    shared_counts,
)

__all__ = ["to_html"]

_MEANINGS = {
    BELOW: "below doing nothing",
    TIED: "not shown to differ from the best",
    DIFFERS: "differs from no_op",
    FEWER: "mean over fewer parts",
}


def to_html(table: Table) -> str:
    """Return `<div class="scores">` with a table and its notes.

    Every header has a scope, the title is the caption, best numbers are `<strong>`, each mark is an `<abbr>`
    that says its meaning, and `data-value` holds the unrounded number. All text is escaped; there is no style
    and no script, so that it fits into any page.
    """
    lines = [
        f'<div class="scores" id="table-{escape(table.name)}">',
        f'<table class="scores-{escape(table.name)}">',
        f"<caption>{escape(table.title)}</caption>",
        *_header(table),
        *(line for rows in blocks(table) for line in _block(table, rows)),
        "</table>",
        '<ul class="notes">',
        *(f"<li>{escape(note)}</li>" for note in table.notes),
        "</ul>",
        "</div>",
    ]
    return "\n".join(lines) + "\n"


def _header(table: Table) -> list[str]:
    firsts = [*([table.block_header] if table.block_header else []), "method"]
    groups = [(name, len(list(members))) for name, members in groupby(table.columns, key=_group)]
    return [
        "<thead>",
        "<tr>"
        + "".join(f'<th scope="col" rowspan="2">{escape(name)}</th>' for name in firsts)
        + "".join(f'<th scope="colgroup" colspan="{n}">{escape(name)}</th>' for name, n in groups)
        + '<th scope="col" rowspan="2">site and size</th></tr>',
        "<tr>" + "".join(f'<th scope="col">{escape(column.name)}</th>' for column in table.columns) + "</tr>",
        "</thead>",
    ]


def _group(column: Column) -> str:
    return column.group


def _block(table: Table, rows: Sequence[Row]) -> list[str]:
    """Return the bodies of a block: its numbers of pairs, its methods, its floors."""
    counts = shared_counts(rows)
    first = f'<th scope="row">{escape(rows[0].block)}</th>' if table.block_header else ""
    pairs = "".join(f"<td>{'' if n is None else n}</td>" for n in counts)
    lines = [
        '<tbody class="pairs">',
        f'<tr>{first}<th scope="row">pairs</th>{pairs}<td></td></tr>',
        "</tbody>",
    ]
    for floor, members in groupby(rows, key=lambda row: row.floor):
        lines += [f'<tbody class="{"floors" if floor else "methods"}">']
        lines += [_row(row, counts, first) for row in members]
        lines += ["</tbody>"]
    return lines


def _row(row: Row, counts: Sequence[int | None], first: str) -> str:
    label = f"<em>{escape(row.label)}</em>" if row.floor else escape(row.label)
    cells = "".join(_cell(cell, shown=n) for cell, n in zip(row.cells, counts, strict=True))
    return f'<tr>{first}<th scope="row">{label}</th>{cells}<td class="detail">{escape(row.detail)}</td></tr>'


def _cell(cell: TableCell, *, shown: int | None) -> str:
    if cell.value is None:
        return '<td class="missing">–</td>'
    number = f"{cell.value:.3f}"
    value = f"<strong>{number}</strong>" if cell.best else number
    marks = "".join(f'<abbr title="{_MEANINGS[mark]}">{mark}</abbr>' for mark in cell.marks)
    interval, count = "", ""
    if cell.interval is not None:
        interval = f' <span class="interval">[{cell.interval[0]:.3f}, {cell.interval[1]:.3f}]</span>'
    if cell.n != shown:
        count = f' <span class="count">n={cell.n}</span>'
    kind = "best" if cell.best else "value"
    return f'<td class="{kind}" data-value="{cell.value!r}">{value}{marks}{interval}{count}</td>'
