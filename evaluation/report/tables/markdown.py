"""A table as Markdown; it decides nothing but how numbers and marks are written."""

from __future__ import annotations

import re
from collections.abc import Sequence

from evaluation.report.tables.model import Row, Table, TableCell, blocks, shared_counts

_SPECIAL = re.compile(r"[\\|_*`<>\[\]#~$]")


def to_markdown(table: Table) -> str:
    """Return the table as a pipe table with title and notes: best in bold, floors in italics, intervals in
    brackets. Each block begins with a row of the numbers of cases."""
    first = [table.block_header] if table.block_header else []
    names = [f"{column.group} {column.name}" for column in table.columns]
    lines = [_line([_escaped(h) for h in [*first, "method", *names, "site and size"]])]
    lines.append(_line(["---"] * (len(first) + 1) + ["---:"] * len(names) + ["---"]))
    for rows in blocks(table):
        lines += [_line(cells if first else cells[1:]) for cells in _block(rows, table.unit)]
    notes = "".join(f"- {_escaped(note)}\n" for note in table.notes)
    return f"### {_escaped(table.title)}\n\n" + "\n".join(lines) + f"\n\n{notes}"


def _block(rows: Sequence[Row], unit: str) -> list[list[str]]:
    """Return the cells of a block's lines, the block's name first."""
    counts = shared_counts(rows)
    block = _escaped(rows[0].block)
    pairs = [block, unit, *("" if n is None else str(n) for n in counts), ""]
    return [pairs, *([block, *_row(row, counts)] for row in rows)]


def _row(row: Row, counts: list[int | None]) -> list[str]:
    label = _escaped(row.label)
    cells = [_cell(cell, shown=n) for cell, n in zip(row.cells, counts, strict=True)]
    return [f"*{label}*" if row.floor else label, *cells, _escaped(row.detail)]


def _cell(cell: TableCell, *, shown: int | None) -> str:
    if cell.value is None:
        return "–"
    own_count = "" if cell.n == shown else f" (n={cell.n})"
    value = f"**{cell.value:.3f}**" if cell.best else f"{cell.value:.3f}"
    interval = "" if cell.interval is None else f" [{cell.interval[0]:.3f}, {cell.interval[1]:.3f}]"
    return f"{value}{cell.marks}{interval}{own_count}"


def _line(parts: list[str]) -> str:
    return f"| {' | '.join(parts)} |"


def _escaped(text: str) -> str:
    one_line = " ".join(text.splitlines())
    return _SPECIAL.sub(r"\\\g<0>", one_line.replace("&", "&amp;"))
