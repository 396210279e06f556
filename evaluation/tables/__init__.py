"""Tables: records become cells, cells become Markdown, CSV or LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from evaluation.records import AverageRecord, ScoreRecord
from evaluation.tables.build import attribute_table, main_table
from evaluation.tables.csv import to_csv
from evaluation.tables.latex import to_latex
from evaluation.tables.markdown import to_markdown
from evaluation.tables.model import Column, Row, Table, TableCell
from ravel.common.errors import unknown_name
from ravel.common.io import write_text

__all__ = [
    "RENDERERS",
    "Column",
    "Row",
    "Table",
    "TableCell",
    "attribute_table",
    "main_table",
    "render",
    "write_tables",
]

RENDERERS: Mapping[str, Callable[[Table], str]] = MappingProxyType(
    {"markdown": to_markdown, "csv": to_csv, "latex": to_latex}
)
"""Renderers by the name of the command line's `--format`."""
_SUFFIXES = MappingProxyType({"markdown": ".md", "csv": ".csv", "latex": ".tex"})


def render(table: Table, style: str) -> str:
    """Return the table in a style of `RENDERERS`. Raises SuiteError for an unknown one."""
    if style not in RENDERERS:
        raise unknown_name("table format", style, RENDERERS)
    return RENDERERS[style](table)


def write_tables(
    scores: Sequence[ScoreRecord], averages: Sequence[AverageRecord] | None, folder: Path
) -> list[Path]:
    """Write the main table and the per-attribute table of the test records in every style; return the
    paths."""
    paths = []
    for table in (main_table(scores, averages), attribute_table(scores, averages)):
        for style, suffix in _SUFFIXES.items():
            path = folder / f"{table.name}{suffix}"
            write_text(path, render(table, style))
            paths.append(path)
    return paths
