"""Tables: records become cells, cells become Markdown, LaTeX, CSV or HTML."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from evaluation.records.breakdowns import BreakdownRecord
from evaluation.records.control_checks import ControlCheck
from evaluation.records.failures import Failure, failure_notes
from evaluation.records.scores import AverageRecord, ComparisonRecord, Refusal, ScoreRecord
from evaluation.report.tables.build import (
    attribute_table,
    balanced_table,
    kind_table,
    main_table,
    type_table,
)
from evaluation.report.tables.controls import control_table
from evaluation.report.tables.csv import to_csv
from evaluation.report.tables.dependence import dependence_table
from evaluation.report.tables.html import to_html
from evaluation.report.tables.latex import to_latex
from evaluation.report.tables.markdown import to_markdown
from evaluation.report.tables.model import Column, Comparison, Row, Table, TableCell
from ravel.common.errors import unknown_name
from ravel.common.io import write_text

__all__ = [
    "RENDERERS",
    "Column",
    "Comparison",
    "Row",
    "Table",
    "TableCell",
    "attribute_table",
    "balanced_table",
    "control_table",
    "dependence_table",
    "kind_table",
    "main_table",
    "render",
    "run_tables",
    "type_table",
    "with_failures",
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


def run_tables(
    scores: Sequence[ScoreRecord],
    averages: Sequence[AverageRecord] | None = None,
    *,
    comparisons: Sequence[ComparisonRecord] = (),
    refusals: Sequence[Refusal] = (),
    balanced: Sequence[AverageRecord] = (),
    breakdowns: Sequence[BreakdownRecord] = (),
    controls: Sequence[ControlCheck] = (),
    failures: Sequence[Failure] = (),
) -> list[Table]:
    """Return the tables of one run's test records: main, per attribute and, where there are records for them,
    per source kind, class-balanced, by dependence, and of controls. Each says which cells failed."""
    tables = [
        main_table(scores, averages, comparisons=comparisons, refusals=refusals),
        attribute_table(scores, averages, refusals=refusals),
    ]
    if any(r.chosen and r.partition == "test" and r.source_kind != "all" for r in scores):
        tables.append(kind_table(scores, averages, refusals=refusals))
    if balanced:
        tables.append(balanced_table(scores, averages, balanced, refusals=refusals))
    if breakdowns:
        tables.append(dependence_table(scores, breakdowns))
    if controls:
        tables.append(control_table(controls))
    return [with_failures(table, failures) for table in tables]


def with_failures(table: Table, failures: Sequence[Failure]) -> Table:
    """Return the table with a note on the cells of the run that failed; as it is where none did."""
    return replace(table, notes=(*table.notes, *failure_notes(failures)))


def write_tables(
    scores: Sequence[ScoreRecord],
    averages: Sequence[AverageRecord] | None,
    folder: Path,
    *,
    comparisons: Sequence[ComparisonRecord] = (),
    refusals: Sequence[Refusal] = (),
    balanced: Sequence[AverageRecord] = (),
    breakdowns: Sequence[BreakdownRecord] = (),
    controls: Sequence[ControlCheck] = (),
    failures: Sequence[Failure] = (),
) -> list[Path]:
    """Write `run_tables` in every style; return the paths."""
    paths = []
    tables = run_tables(
        scores,
        averages,
        comparisons=comparisons,
        refusals=refusals,
        balanced=balanced,
        breakdowns=breakdowns,
        controls=controls,
        failures=failures,
    )
    for table in tables:
        for style, suffix in _SUFFIXES.items():
            path = folder / f"{table.name}{suffix}"
            write_text(path, render(table, style))
            paths.append(path)
    return paths
