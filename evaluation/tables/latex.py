"""A table as LaTeX with booktabs; it decides nothing but how numbers and marks are written."""

from __future__ import annotations

from itertools import groupby

from evaluation.tables.model import Row, Table, TableCell, column_counts

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

    Each row has its values and, where there are intervals, a second line with them; best in bold, floors in
    italics.
    """
    counts = column_counts(table)
    labels = 2 if table.block_header else 1
    body = [line for row in _with_rules(table) for line in _row_lines(row, counts)]
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}[t]",
        r"\centering\small",
        rf"\caption{{{escape(table.title)}.}}",
        rf"\label{{tab:{table.name}}}",
        rf"\begin{{tabular}}{{{'l' * labels}{'c' * len(table.columns)}}}",
        r"\toprule",
        *_header(table, counts, labels),
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        *(rf"\par\footnotesize {escape(note)}" for note in table.notes),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _header(table: Table, counts: list[int | None], labels: int) -> list[str]:
    groups, rules, at = [""] * labels, "", labels + 1
    for name, members in groupby(table.columns, key=lambda column: column.group):
        width = len(list(members))
        groups.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(name)}}}")
        rules += rf"\cmidrule(lr){{{at}-{at + width - 1}}}"
        at += width
    names = [escape(table.block_header)] * (labels - 1) + ["method"]
    header = [_line(groups), rules, _line([*names, *(escape(column.name) for column in table.columns)])]
    if any(n is not None for n in counts):
        shown = ["" if n is None else rf"{{\scriptsize $n={n}$}}" for n in counts]
        header.append(_line([*[""] * labels, *shown]))
    return header


def _with_rules(table: Table) -> list[tuple[Row, list[str]] | None]:
    """Return rows with their labels, and None, a rule, between blocks and before the floors of a block."""
    rows: list[tuple[Row, list[str]] | None] = []
    before: Row | None = None
    for row in table.rows:
        if before is not None and (before.block, before.floor) != (row.block, row.floor):
            rows.append(None)
        new_block = before is None or before.block != row.block
        rows.append((row, [row.block if new_block else "", row.label][0 if table.block_header else 1 :]))
        before = row
    return rows


def _row_lines(entry: tuple[Row, list[str]] | None, counts: list[int | None]) -> list[str]:
    if entry is None:
        return [r"\midrule"]
    row, labels = entry
    names = [escape(label) for label in labels]
    names[-1] = rf"\textit{{{names[-1]}}}" if row.floor else names[-1]
    values = [_value(cell, shared=n is not None) for cell, n in zip(row.cells, counts, strict=True)]
    lines = [_line([*names, *values])]
    if any(cell.interval is not None for cell in row.cells):
        lines.append(_line([*[""] * len(names), *(_interval(cell) for cell in row.cells)]))
    return lines


def _value(cell: TableCell, *, shared: bool) -> str:
    own_count = "" if shared else rf" {{\scriptsize $n={cell.n}$}}"
    if cell.value is None:
        return f"--{own_count}"
    value = rf"\textbf{{{cell.value:.3f}}}" if cell.best else f"{cell.value:.3f}"
    mark = r"$^\dagger$" if cell.below_no_op else ""
    return f"{value}{mark}{own_count}"


def _interval(cell: TableCell) -> str:
    if cell.interval is None:
        return ""
    return rf"{{\scriptsize [{cell.interval[0]:.3f}, {cell.interval[1]:.3f}]}}"


def _line(parts: list[str]) -> str:
    return " & ".join(parts) + r" \\"
