"""A table as LaTeX with booktabs; it decides nothing but how numbers and marks are written."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from evaluation.report.tables.model import Row, Table, TableCell, blocks, shared_counts

__all__ = ["MARKS", "escape", "to_latex"]

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
    "‡": r"$^\ddagger$",
    "§": r"\S{}",
    "–": "--",
    "—": "---",
    "‘": "`",
    "’": "'",
    '"': r"\textquotedbl{}",
}
MARKS = {"†": r"\dagger", "‡": r"\ddagger", "=": "=", "§": r"\S"}
"""Marks as LaTeX writes them inside formulas."""
_LONGEST = 40
_WIDEST = 7


def escape(text: str) -> str:
    """Return text that LaTeX prints as it is, on one line; letters outside ASCII are left to the document's
    UTF-8 input."""
    return "".join(_SPECIAL.get(character, character) for character in " ".join(text.splitlines()))


def to_latex(table: Table) -> str:
    """Return a `table` environment that needs only the booktabs package or, with more lines than a page
    holds, a `longtable`, which needs that package too.

    Each block begins with the numbers of cases; each row has its values and, where there are intervals, a
    second line with them; best in bold, floors in italics. Many columns are set in a smaller type.
    """
    labels = 2 if table.block_header else 1
    body = [line for rows in blocks(table) for line in _block(rows, labels)]
    whole = _long if len(body) > _LONGEST else _floating
    return "\n".join(whole(table, labels, body)) + "\n"


def _floating(table: Table, labels: int, body: list[str]) -> list[str]:
    return [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}[t]",
        rf"\centering{_type(table)}",
        *_caption(table),
        rf"\begin{{tabular}}{{{_spec(table, labels)}}}",
        r"\toprule",
        *_header(table, labels),
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        *_notes(table),
        r"\end{table}",
    ]


def _long(table: Table, labels: int, body: list[str]) -> list[str]:
    head = [r"\toprule", *_header(table, labels)]
    caption, label = _caption(table)
    return [
        "% needs \\usepackage{booktabs,longtable}",
        rf"\begingroup{_type(table)}",
        rf"\begin{{longtable}}{{{_spec(table, labels)}}}",
        rf"{caption}{label}\\",
        *(*head, r"\endfirsthead", *head, r"\endhead", r"\bottomrule", r"\endfoot"),
        *body,
        r"\end{longtable}",
        *_notes(table),
        r"\endgroup",
    ]


def _caption(table: Table) -> tuple[str, str]:
    return rf"\caption{{{escape(table.title)}.}}", rf"\label{{tab:{table.name}}}"


def _type(table: Table) -> str:
    if len(table.columns) > _WIDEST:
        return r"\scriptsize\setlength{\tabcolsep}{2pt}"
    return r"\small\setlength{\tabcolsep}{3pt}"


def _spec(table: Table, labels: int) -> str:
    return "l" * labels + "c" * len(table.columns)


def _notes(table: Table) -> list[str]:
    return [rf"\par\footnotesize {escape(note)}" for note in table.notes]


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
    # A block's name may be long, and nothing stands beside it in the methods' column.
    first = [""] if labels == 1 else [rf"\multicolumn{{{labels}}}{{l}}{{{escape(rows[0].block)}}}"]
    lines = [r"\midrule", _line([*first, *shown])]
    for before, row in zip([None, *rows], rows, strict=False):
        if before is not None and before.floor != row.floor:
            lines.append(rf"\cmidrule{{{labels}-{labels + len(row.cells)}}}")
        lines += _row(row, counts, [""] * (labels - 1))
    return lines


def _row(row: Row, counts: list[int | None], indent: list[str]) -> list[str]:
    label = escape(row.label)
    values = [_value(cell, shown=n) for cell, n in zip(row.cells, counts, strict=True)]
    lines = [_line([*indent, rf"\textit{{{label}}}" if row.floor else label, *values])]
    if any(cell.interval is not None for cell in row.cells):
        lines.append(_line([*indent, "", *(_interval(cell) for cell in row.cells)]))
    return lines


def _value(cell: TableCell, *, shown: int | None) -> str:
    if cell.value is None:
        return "--"
    own_count = "" if cell.n == shown else " " + _small(f"$n={cell.n}$")
    value = rf"\textbf{{{_number(cell.value)}}}" if cell.best else _number(cell.value)
    marks = "".join(MARKS[mark] for mark in cell.marks)
    return f"{value}{f'$^{{{marks}}}$' if marks else ''}{own_count}"


def _interval(cell: TableCell) -> str:
    if cell.interval is None:
        return ""
    return _small(f"[{_number(cell.interval[0])}, {_number(cell.interval[1])}]")


def _number(value: float) -> str:
    # Shares need no zero before the point, and nine columns need the room.
    return f"{value:.3f}".removeprefix("0") if value >= 0 else f"{value:.3f}"


def _small(text: str) -> str:
    return rf"{{\tiny {text}}}"


def _line(parts: list[str]) -> str:
    return " & ".join(parts) + r" \\"
