"""Tables: records become cells, cells become Markdown, LaTeX, CSV or HTML."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from evaluation.report.tables.build import (
    ModelScores,
    attribute_table,
    balanced_table,
    kind_table,
    main_table,
    model_table,
    type_table,
)
from evaluation.report.tables.controls import control_table, necessity_table
from evaluation.report.tables.dependence import dependence_table
from evaluation.report.tables.html import to_html
from evaluation.report.tables.latex import to_latex
from evaluation.report.tables.latex_compact import to_compact_latex
from evaluation.report.tables.long_form import to_csv, to_parquet
from evaluation.report.tables.markdown import to_markdown
from evaluation.report.tables.means import seed_table
from evaluation.report.tables.model import Column, Comparison, Row, Table, TableCell
from ravel.common.errors import unknown_name
from ravel.common.io import write_bytes, write_text

__all__ = [
    "RENDERERS",
    "Column",
    "Comparison",
    "ModelScores",
    "Row",
    "Table",
    "TableCell",
    "attribute_table",
    "balanced_table",
    "control_table",
    "dependence_table",
    "kind_table",
    "main_table",
    "model_table",
    "necessity_table",
    "render",
    "seed_table",
    "to_compact_latex",
    "to_latex",
    "type_table",
    "write_tables",
]

RENDERERS: Mapping[str, Callable[[Table], str]] = MappingProxyType(
    {"markdown": to_markdown, "latex": to_latex, "csv": to_csv, "html": to_html}
)
"""Renderers by the name of the command line's `--format`."""
_SUFFIXES = MappingProxyType({"markdown": ".md", "latex": ".tex", "csv": ".csv", "html": ".html"})


def render(table: Table, style: str) -> str:
    """Return the table in a style of `RENDERERS`. Raises SuiteError for an unknown one."""
    if style not in RENDERERS:
        raise unknown_name("table format", style, RENDERERS)
    return RENDERERS[style](table)


def write_tables(tables: Sequence[Table], folder: Path) -> list[Path]:
    """Write tables in every style, and as Parquet; return the paths."""
    paths = []
    for table in tables:
        for style, suffix in _SUFFIXES.items():
            paths.append(folder / f"{table.name}{suffix}")
            write_text(paths[-1], render(table, style))
        paths.append(folder / f"{table.name}.parquet")
        write_bytes(paths[-1], to_parquet(table))
    return paths
