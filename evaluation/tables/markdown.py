"""A table as Markdown; it decides nothing but how numbers and marks are written."""

from __future__ import annotations

from evaluation.tables.model import Row, Table, TableCell, column_counts

__all__ = ["to_markdown"]


def to_markdown(table: Table) -> str:
    """Return the table as a pipe table with title and notes; best in bold, floors in italics, intervals in
    brackets."""
    counts = column_counts(table)
    blocks = [table.block_header] if table.block_header else []
    names = [f"{c.group} {c.name}{_count(n)}" for c, n in zip(table.columns, counts, strict=True)]
    header = [*blocks, "method", *names, "site and size"]
    rules = ["---"] * (len(blocks) + 1) + ["---:"] * len(names) + ["---"]
    lines = [_line([_escaped(h) for h in header]), _line(rules)]
    lines += [_line(_row(row, counts, bool(blocks))) for row in table.rows]
    notes = "".join(f"- {_escaped(note)}\n" for note in table.notes)
    return f"### {table.title}\n\n" + "\n".join(lines) + f"\n\n{notes}"


def _row(row: Row, counts: list[int | None], with_block: bool) -> list[str]:
    label = _escaped(row.label)
    cells = [_cell(cell, shared=n is not None) for cell, n in zip(row.cells, counts, strict=True)]
    block = [_escaped(row.block)] if with_block else []
    return [*block, f"*{label}*" if row.floor else label, *cells, _escaped(row.detail)]


def _cell(cell: TableCell, *, shared: bool) -> str:
    own_count = "" if shared else _count(cell.n)
    if cell.value is None:
        return f"–{own_count}"
    value = f"**{cell.value:.3f}**" if cell.best else f"{cell.value:.3f}"
    mark = "†" if cell.below_no_op else ""
    interval = "" if cell.interval is None else f" [{cell.interval[0]:.3f}, {cell.interval[1]:.3f}]"
    return f"{value}{mark}{interval}{own_count}"


def _count(n: int | None) -> str:
    return "" if n is None else f" (n={n})"


def _line(parts: list[str]) -> str:
    return f"| {' | '.join(parts)} |"


def _escaped(text: str) -> str:
    for character in ("\\", "|", "_", "*", "`", "<"):
        text = text.replace(character, f"\\{character}")
    return text
