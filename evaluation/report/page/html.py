"""A report as one HTML file: its templates escape all text, assets are put in, nothing is loaded; it reads no
run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.records.control_checks import control_sentences
from evaluation.report.common.templates import asset, filled, page_policy
from evaluation.report.page.build import Report
from evaluation.report.page.dependence import SOURCES, bound_sentences, skew_grid
from evaluation.report.page.diagnostics import diagnosis_grids
from evaluation.report.page.verdicts import HELD_OUT
from evaluation.report.tables.controls import control_table
from evaluation.report.tables.html import to_html as table_html
from evaluation.scoring.track import Track

_PACKAGE = "evaluation.report.page"
_MAIN_DRAWING = "cause_isolate"
"""The plot that stands beside the verdicts."""
_SCRIPTS = ("common.js", "plots.js", "results.js", "pairs.js", "page.js")


def to_html(report: Report, *, refresh: int | None = None) -> str:
    """Return the page, which loads itself anew every `refresh` seconds if there are any. Its policy forbids
    every request and every script but its own, which is named by its hash."""
    script = _script(report.track, report.payload["rows"])
    values = {
        "report": report,
        "refresh": refresh,
        "policy": page_policy(script),
        "style": asset(_PACKAGE, "page.css"),
        "script": script,
        "data": embedded_json(report.payload),
        "held_out": HELD_OUT,
        "main_drawing": _MAIN_DRAWING,
        "sources": SOURCES,
        "diagnosis_grids": diagnosis_grids,
        "control_table": control_table,
        "control_sentences": control_sentences,
        "skew_grid": skew_grid,
        "bound_sentences": bound_sentences,
        "table_html": table_html,
    }
    return filled(_PACKAGE, "page.html", values)


def embedded_json(payload: Mapping[str, Any]) -> str:
    """Return JSON that can stand in a script element: no text in it can end or open an element or comment."""
    text = json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # Inside JSON these characters occur in strings only, where an escape means the same.
    for character in ("<", ">", "&", "\u2028", "\u2029"):
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _script(track: Track[Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the page's script, with what a track measures in the places between `[[` and `]]`."""
    counted = [name for name in track.names if any(f"n_{name}" in row for row in rows)]
    values = {
        "measures": json.dumps(track.names),
        "criterion": track.criterion,
        "order": "descending" if track.merit(track.criterion, 1.0) > 0 else "ascending",
        "baseline": track.baseline,
        "nothing": f"{100 * (track.nothing_scores or 0):g}%",
        "unit": track.unit,
        "Unit": track.unit.capitalize(),
        "total": " + ".join(f"row.n_{name}" for name in counted) or "0",
        "counts": " + ".join(f"${{grouped(row.n_{name})}}" for name in counted),
        "counted": " + ".join(counted),
    }
    script = f'"use strict";\n\n(() => {{\n{"".join(asset(_PACKAGE, name) for name in _SCRIPTS)}}})();\n'
    for name, value in values.items():
        script = script.replace(f"[[ {name} ]]", value)
    return script
