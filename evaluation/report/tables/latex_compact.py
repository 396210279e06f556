"""A table as LaTeX over two columns of a paper: the criterion alone, a line per method, notes below."""

from __future__ import annotations

from itertools import groupby

from evaluation.report.tables.latex import (
    display_name,
    escape,
    group_header,
    labelled,
    line,
    marked_value,
    over_the_page,
    table_notes,
)
from evaluation.report.tables.model import Column, Row, Table, blocks


def to_compact_latex(table: Table, label: str = "") -> str:
    """Return a `table*` over both columns that needs the packages booktabs and threeparttable.

    Of a table with several measures it keeps the one that points are chosen by, the last; there are neither
    intervals nor counts: `to_latex` has them. `label` tells apart the tables of several runs.
    """
    shown = _shown(table)
    groups = [(name, len(list(own))) for name, own in groupby(shown, key=lambda at: table.columns[at].group)]
    body = [one for rows in blocks(table) for one in _block(rows, shown)]
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
        return [line(["Method", *(escape(_words(table.columns[at])) for at in shown)]), r"\midrule"]
    named = [(name.replace("_", " "), width) for name, width in groups]
    names = ["Method", *(escape(table.columns[at].name) for at in shown)]
    return [*group_header(named, labels=1), line(names), r"\midrule"]


def _words(column: Column) -> str:
    return column.group.replace("_", " ")


def _block(rows: list[Row], shown: list[int]) -> list[str]:
    lines = []
    if rows[0].block:
        lines.append(rf"\multicolumn{{{len(shown) + 1}}}{{l}}{{\emph{{{escape(rows[0].block)}}}}} \\")
    for before, row in zip([None, *rows], rows, strict=False):
        if before is not None and before.floor != row.floor:
            lines.append(r"\addlinespace")
        lines.append(line([escape(display_name(row.label)), *(marked_value(row.cells[at]) for at in shown)]))
    return lines
