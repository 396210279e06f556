"""The block of the page on controls that must fail: the table and the rule; it checks nothing."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from evaluation.records.control_checks import ControlCheck, control_sentences
from evaluation.report.tables.controls import control_table
from evaluation.report.tables.html import to_html

__all__ = ["controls_html", "controls_link"]


def controls_link(checks: Sequence[ControlCheck]) -> str:
    """Return the entry of the page's navigation, empty where no control was run."""
    return '<li><a href="#controls">Controls</a></li>\n' if checks else ""


def controls_html(checks: Sequence[ControlCheck]) -> str:
    """Return the section of the page, empty where no control was run. All text is escaped."""
    if not checks:
        return ""
    failed = any(check.failed_to_fail for check in checks)
    summary = "Some controls are above their floor." if failed else "All controls that must fail do fail."
    sentences = "".join(f"<li>{escape(said)}</li>\n" for said in control_sentences(checks))
    return (
        '<section id="controls" aria-labelledby="controls-title">\n'
        '<h2 id="controls-title">Controls</h2>\n'
        f'<p class="lead">{summary} From each controlled method something was taken that its score should '
        "rest on: the answers, the right source, the facts, or what the model has learned.</p>\n"
        '<div class="scroll" role="region" aria-label="Controls and their floors" tabindex="0">\n'
        f"{to_html(control_table(checks))}</div>\n"
        f"<details><summary>In words</summary>\n<ul>{sentences}</ul></details>\n</section>\n"
    )
