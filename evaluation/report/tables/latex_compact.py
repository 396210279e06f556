"""A table as LaTeX over two columns of a paper: the criterion alone, a line per method, notes below."""

from __future__ import annotations

from itertools import groupby

from evaluation.report.tables.latex import MARKS, display_name, escape, labelled, over_the_page, table_notes
from evaluation.report.tables.model import Column, Row, Table, TableCell, blocks


def to_compact_latex(table: Table, label: str = "") -> str:
    """Return a `table*` over both columns that needs the packages booktabs and threeparttable.

    Of a table with several measures it keeps the one that points are chosen by, the last; there are neither
    intervals nor counts: `to_latex` has them. `label` tells apart the tables of several runs.
    """
    shown = _shown(table)
    groups = [(name, len(list(own))) for name, own in groupby(shown, key=lambda at: table.columns[at].group)]
    body = [line for rows in blocks(table) for line in _block(rows, shown)]
    return "\n".join(
        [
            "% needs \\usepackage{booktabs,threeparttable}",
            r"\begin{table*}[t]",
            r"\centering\small",
            r"\begin{threeparttable}",
            rf"\caption{{{escape(table.title)}.}}{labelled(table, label)}",
            *over_the_page(f"l{'c' * len(shown)}", [*_header(table, shown, groups), *body]),
            *table_notes(table),
            r"\end{threeparttable}",
            r"\end{table*}",
            "",
        ]
    )


def _shown(table: Table) -> list[int]:
    """Return the columns that are kept: of several measures the last one of each generalisation."""
    measures = list(dict.fromkeys(column.score for column in table.columns))
    return [at for at, column in enumerate(table.columns) if column.score == measures[-1]]


def _header(table: Table, shown: list[int], groups: list[tuple[str, int]]) -> list[str]:
    if all(width == 1 for _, width in groups):
        return [_line(["Method", *(escape(_words(table.columns[at])) for at in shown)]), r"\midrule"]
    first, rules, at = [""], "", 2
    for name, width in groups:
        first.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(name.replace('_', ' '))}}}")
        rules += rf"\cmidrule(lr){{{at}-{at + width - 1}}}"
        at += width
    names = ["Method", *(escape(table.columns[at].name) for at in shown)]
    return [_line(first), rules, _line(names), r"\midrule"]


def _words(column: Column) -> str:
    return column.group.replace("_", " ")


def _block(rows: list[Row], shown: list[int]) -> list[str]:
    lines = []
    if rows[0].block:
        lines.append(rf"\multicolumn{{{len(shown) + 1}}}{{l}}{{\emph{{{escape(rows[0].block)}}}}} \\")
    for before, row in zip([None, *rows], rows, strict=False):
        if before is not None and before.floor != row.floor:
            lines.append(r"\addlinespace")
        lines.append(_line([escape(display_name(row.label)), *(_value(row.cells[at]) for at in shown)]))
    return lines


def _value(cell: TableCell) -> str:
    if cell.value is None:
        return "--"
    number = f"{cell.value:.3f}".removeprefix("0")
    marks = "".join(MARKS[mark] for mark in cell.marks)
    return (rf"\textbf{{{number}}}" if cell.best else number) + (f"$^{{{marks}}}$" if marks else "")


def _line(parts: list[str]) -> str:
    return " & ".join(parts) + r" \\"
