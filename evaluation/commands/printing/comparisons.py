"""What a table's rows differ by: the best against the rest, and each method against the baseline; it compares
floors with nothing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from evaluation.commands.printing.text import print_notes, print_rows
from evaluation.report.tables.marks import LEVEL
from evaluation.report.tables.model import Column, Comparison, Table

_INDENT = "  "
_LISTED = 30
"""Comparisons that are printed one by one; the marks of the table say as much of more methods."""


def print_comparisons(table: Table) -> None:
    """Print the comparisons of a main table, a row each; nothing where none were made, or very many."""
    compared = list(_compared(table))
    if not compared or len(compared) > _LISTED:
        return
    rows: list[list[str]] = []
    for group, members in groupby(compared, key=lambda found: found[0].group):
        rows += [[group, "", "", ""], *(_row(found) for found in members)]
    print_notes(
        [
            f"Differences in {compared[0][0].score} on the same {table.unit}; "
            f"a difference is shown where its adjusted p-value is below {LEVEL:g}:"
        ]
    )
    print_rows(["held out, and what is compared", "difference", "95 % interval", "shown"], rows)


def _row(compared: tuple[Column, str, str, Comparison, int]) -> list[str]:
    _, first, second, found, sign = compared
    interval = "none"
    if found.interval is not None:
        low, high = sorted(sign * end for end in found.interval)
        interval = f"[{low:+.3f}, {high:+.3f}]"
    shown = "yes" if found.differs else "no"
    return [f"{_INDENT}{first} - {second}", f"{sign * found.difference:+.3f}", interval, shown]


def _compared(table: Table) -> Iterator[tuple[Column, str, str, Comparison, int]]:
    """Yield column, two methods, their comparison, and the sign that makes it the first minus the second."""
    methods = [row for row in table.rows if not row.floor]
    for at, column in enumerate(table.columns):
        best = next((row.label for row in methods if row.cells[at].vs_best == Comparison("best")), None)
        for row in methods:
            found = row.cells[at].vs_best
            if best is not None and found is not None and found.relation != "best":
                yield column, best, row.label, found, -1
        for row in methods:
            if (versus := row.cells[at].vs_no_op) is not None:
                yield column, row.label, versus.other, versus, 1
