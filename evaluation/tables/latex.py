"""A table as LaTeX with booktabs; it decides nothing but how numbers and marks are written."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from evaluation.tables.model import Row, Table, TableCell, blocks, shared_counts

__all__ = ["escape", "to_latex"]

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "†": r"$^\dagger$",
    "–": "--",
}


def escape(text: str) -> str:
    """Return text that LaTeX prints as it is; letters outside ASCII are left to the document's UTF-8
    input."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def to_latex(table: Table) -> str:
    """Return a `table` environment that needs only the booktabs package.

    Each block begins with the numbers of pairs; each row has its values and, where there are intervals, a
    second line with them; best in bold, floors in italics.
    """
    labels = 2 if table.block_header else 1
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}[t]",
        r"\centering\small\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{escape(table.title)}.}}",
        rf"\label{{tab:{table.name}}}",
        rf"\begin{{tabular}}{{{'l' * labels}{'c' * len(table.columns)}}}",
        r"\toprule",
        *_header(table, labels),
        *(line for rows in blocks(table) for line in _block(rows, labels)),
        r"\bottomrule",
        r"\end{tabular}",
        *(rf"\par\footnotesize {escape(note)}" for note in table.notes),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _header(table: Table, labels: int) -> list[str]:
    groups, rules, at = [""] * labels, "", labels + 1
    for name, members in groupby(table.columns, key=lambda column: column.group):
        width = len(list(members))
        groups.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(name)}}}")
        rules += rf"\cmidrule(lr){{{at}-{at + width - 1}}}"
        at += width
    names = [escape(table.block_header)] * (labels - 1) + ["method"]
    return [_line(groups), rules, _line([*names, *(escape(column.name) for column in table.columns)])]


def _block(rows: Sequence[Row], labels: int) -> list[str]:
    counts = shared_counts(rows)
    shown = ["" if n is None else _small(f"$n={n}$") for n in counts]
    lines = [r"\midrule", _line([*[escape(rows[0].block)] * (labels - 1), "", *shown])]
    for before, row in zip([None, *rows], rows, strict=False):
        if before is not None and before.floor != row.floor:
            lines.append(rf"\cmidrule{{{labels}-{labels + len(row.cells)}}}")
        lines += _row(row, counts, [""] * (labels - 1))
    return lines


def _row(row: Row, counts: list[int | None], indent: list[str]) -> list[str]:
    label = escape(row.label)
    values = [_value(cell, shared=n is not None) for cell, n in zip(row.cells, counts, strict=True)]
    lines = [_line([*indent, rf"\textit{{{label}}}" if row.floor else label, *values])]
    if any(cell.interval is not None for cell in row.cells):
        lines.append(_line([*indent, "", *(_interval(cell) for cell in row.cells)]))
    return lines


def _value(cell: TableCell, *, shared: bool) -> str:
    own_count = "" if shared else " " + _small(f"$n={cell.n}$")
    if cell.value is None:
        return f"--{own_count}"
    value = rf"\textbf{{{_number(cell.value)}}}" if cell.best else _number(cell.value)
    mark = r"$^\dagger$" if cell.below_no_op else ""
    return f"{value}{mark}{own_count}"


def _interval(cell: TableCell) -> str:
    if cell.interval is None:
        return ""
    return _small(f"[{_number(cell.interval[0])}, {_number(cell.interval[1])}]")


def _number(value: float) -> str:
    # Shares need no zero before the point, and nine columns need the room.
    return f"{value:.3f}".removeprefix("0") if value >= 0 else f"{value:.3f}"


def _small(text: str) -> str:
    return rf"{{\scriptsize {text}}}"


def _line(parts: list[str]) -> str:
    return " & ".join(parts) + r" \\"
