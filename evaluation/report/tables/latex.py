"""A table as LaTeX with booktabs; it decides nothing but how numbers and marks are written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

from evaluation.report.tables.model import Row, Table, TableCell, blocks, shared_counts

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
_MARKS = {"†": r"\dagger", "‡": r"\ddagger", "=": "=", "§": r"\S"}
"""Marks as LaTeX writes them inside formulas."""
_SHORT = {"das", "mdas", "dbm", "mdbm", "pca", "lda", "sae", "inlp", "rlap", "leace", "anova"}
_NAMES = {"no_op": "No-op", "mdbm_sae": "MDBM on SAE", "rlap": "R-LACE", "pca_mdbm": "MDBM on PCA"}
_LONGEST = 40
_WIDEST = 7


def escape(text: str) -> str:
    """Return text that LaTeX prints as it is, on one line; letters outside ASCII are left to the document's
    UTF-8 input."""
    return "".join(_SPECIAL.get(character, character) for character in " ".join(text.splitlines()))


def display_name(method: str) -> str:
    """Return a method's name as papers write it: `no_op` is No-op, `mdas` MDAS, `full_vector` Full vector."""
    if method in _NAMES:
        return _NAMES[method]
    words = [word.upper() if word in _SHORT else word for word in method.split("_")]
    return " ".join([words[0][:1].upper() + words[0][1:], *words[1:]])


def to_latex(table: Table, label: str = "") -> str:
    """Return a `table*`, over both columns of a paper that has two, which needs the packages booktabs and
    threeparttable or, with more lines than a page holds, a `longtable`, which needs booktabs and longtable
    and one column. `label` tells apart the tables of several runs.

    Each block begins with the numbers of cases; each row has its values and, where there are intervals, a
    second line with them; best in bold, floors in italics. Many columns are set in a smaller type.
    """
    labels = 2 if table.block_header else 1
    body = [one for rows in blocks(table) for one in _block(rows, labels)]
    whole = _long if len(body) > _LONGEST else _floating
    return "\n".join(whole(table, label, labels, body)) + "\n"


def labelled(table: Table, label: str) -> str:
    """Return what a paper refers to the table by; a folder may have a name that TeX would not read."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", label)
    return rf"\label{{tab:{plain}{'-' * bool(plain)}{table.name}}}"


def table_notes(table: Table) -> list[str]:
    """Return the notes as threeparttable sets them, in the width of the table."""
    items = [rf"\item {escape(note)}" for note in table.notes]
    return [r"\begin{tablenotes}[flushleft]\footnotesize", *items, r"\end{tablenotes}"] if items else []


def over_the_page(spec: str, lines: Sequence[str]) -> list[str]:
    """Return lines between rules as wide as the text, for notes are set in the width of their table."""
    begin = rf"\begin{{tabular*}}{{\textwidth}}{{@{{\extracolsep{{\fill}}}}{spec}}}"
    return [begin, r"\toprule", *lines, r"\bottomrule", r"\end{tabular*}"]


def line(parts: Sequence[str]) -> str:
    """Return a line of a table."""
    return " & ".join(parts) + r" \\"


def group_header(groups: Sequence[tuple[str, int]], labels: int) -> list[str]:
    """Return the line of names, each over so many columns, behind `labels` columns, and the rules below."""
    names, rules, at = [""] * labels, "", labels + 1
    for name, width in groups:
        names.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(name)}}}")
        rules += rf"\cmidrule(lr){{{at}-{at + width - 1}}}"
        at += width
    return [line(names), rules]


def marked_value(cell: TableCell) -> str:
    """Return a cell's number, in bold where it is the best, with its marks."""
    if cell.value is None:
        return "--"
    value = rf"\textbf{{{_number(cell.value)}}}" if cell.best else _number(cell.value)
    marks = "".join(_MARKS[mark] for mark in cell.marks)
    return f"{value}{f'$^{{{marks}}}$' if marks else ''}"


def _floating(table: Table, label: str, labels: int, body: list[str]) -> list[str]:
    return [
        "% needs \\usepackage{booktabs,threeparttable}",
        r"\begin{table*}[t]",
        rf"\centering{_type(table)}",
        r"\begin{threeparttable}",
        rf"\caption{{{escape(table.title)}.}}",
        labelled(table, label),
        *over_the_page(_spec(table, labels), [*_header(table, labels), *body]),
        *table_notes(table),
        r"\end{threeparttable}",
        r"\end{table*}",
    ]


def _long(table: Table, label: str, labels: int, body: list[str]) -> list[str]:
    head = [r"\toprule", *_header(table, labels)]
    return [
        "% needs \\usepackage{booktabs,longtable}",
        rf"\begingroup{_type(table)}",
        rf"\begin{{longtable}}{{{_spec(table, labels)}}}",
        rf"\caption{{{escape(table.title)}.}}{labelled(table, label)}\\",
        *(*head, r"\endfirsthead", *head, r"\endhead", r"\bottomrule", r"\endfoot"),
        *body,
        r"\end{longtable}",
        *(rf"\par\footnotesize {escape(note)}" for note in table.notes),
        r"\endgroup",
    ]


def _type(table: Table) -> str:
    if len(table.columns) > _WIDEST:
        return r"\scriptsize\setlength{\tabcolsep}{2pt}"
    return r"\small\setlength{\tabcolsep}{3pt}"


def _spec(table: Table, labels: int) -> str:
    return "l" * labels + "c" * len(table.columns)


def _header(table: Table, labels: int) -> list[str]:
    grouped = groupby(table.columns, key=lambda column: column.group)
    names = [escape(table.block_header)] * (labels - 1) + ["Method"]
    return [
        *group_header([(name, len(list(members))) for name, members in grouped], labels),
        line([*names, *(escape(column.name) for column in table.columns)]),
    ]


def _block(rows: Sequence[Row], labels: int) -> list[str]:
    counts = shared_counts(rows)
    shown = ["" if n is None else _small(f"$n={n}$") for n in counts]
    # A block's name may be long, and nothing stands beside it in the methods' column.
    first = [""] if labels == 1 else [rf"\multicolumn{{{labels}}}{{l}}{{{escape(rows[0].block)}}}"]
    lines = [r"\midrule", line([*first, *shown])]
    for before, row in zip([None, *rows], rows, strict=False):
        if before is not None and before.floor != row.floor:
            lines.append(rf"\cmidrule{{{labels}-{labels + len(row.cells)}}}")
        lines += _row(row, counts, [""] * (labels - 1))
    return lines


def _row(row: Row, counts: list[int | None], indent: list[str]) -> list[str]:
    label = escape(display_name(row.label))
    values = [_value(cell, shown=n) for cell, n in zip(row.cells, counts, strict=True)]
    lines = [line([*indent, rf"\textit{{{label}}}" if row.floor else label, *values])]
    if any(cell.interval is not None for cell in row.cells):
        lines.append(line([*indent, "", *(_interval(cell) for cell in row.cells)]))
    return lines


def _value(cell: TableCell, *, shown: int | None) -> str:
    own_count = "" if cell.value is None or cell.n == shown else " " + _small(f"$n={cell.n}$")
    return marked_value(cell) + own_count


def _interval(cell: TableCell) -> str:
    if cell.interval is None:
        return ""
    return _small(f"[{_number(cell.interval[0])}, {_number(cell.interval[1])}]")


def _number(value: float) -> str:
    # Shares need no zero before the point, and nine columns need the room.
    return f"{value:.3f}".removeprefix("0")


def _small(text: str) -> str:
    return rf"{{\tiny {text}}}"
