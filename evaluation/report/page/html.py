"""A report as one HTML file: text is escaped, assets are put in, nothing is loaded; it reads no run."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from evaluation.records.scores import Refusal
from evaluation.report.page.build import Report
from evaluation.report.page.controls import controls_html, controls_link
from evaluation.report.page.dependence import dependence_html, dependence_link
from evaluation.report.page.diagnostics import diagnostics_html, diagnostics_link
from evaluation.report.page.drawings import Drawing
from evaluation.report.page.verdicts import HELD_OUT, Verdict

__all__ = ["embedded_json", "to_html"]


def to_html(report: Report) -> str:
    """Return the page. Its policy forbids every request and every script but its own, which is named by its
    hash."""
    script = _asset("page.js")
    return Template(_asset("page.html")).substitute(
        policy=escape(_policy(script)),
        title=escape(f"{report.title} · RAVEL-bench report"),
        heading=escape(report.title),
        style=_asset("page.css"),
        headline=escape(report.headline),
        verdicts="".join(_verdict(verdict) for verdict in report.verdicts),
        refusals=_refusals(report.refusals),
        facts="".join(_fact(name, value) for name, value in report.facts),
        notes="".join(f"<li>{escape(note)}</li>\n" for note in report.notes),
        diagnostics=diagnostics_html(report.diagnostics),
        diagnostics_link=diagnostics_link(report.diagnostics),
        dependence=dependence_html(report.dependence),
        dependence_link=dependence_link(report.dependence),
        controls=controls_html(report.controls),
        controls_link=controls_link(report.controls),
        plots=_plots(report.drawings),
        config=escape(report.config),
        environment=_environment(report.environment),
        data=embedded_json(report.payload),
        script=script,
    )


def embedded_json(payload: Mapping[str, Any]) -> str:
    """Return JSON that can stand in a script element: no text in it can end or open an element or comment."""
    text = json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # Inside JSON these characters occur in strings only, where an escape means the same.
    for character in ("<", ">", "&", "\u2028", "\u2029"):
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _asset(name: str) -> str:
    return files("evaluation.report.page").joinpath(name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'sha256-{digest}'",
            "style-src 'unsafe-inline'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _verdict(verdict: Verdict) -> str:
    partition = "test" if verdict.partition == "test" else "validation"
    heading = f"{HELD_OUT[verdict.generalisation]} <small>({verdict.generalisation}, {partition})</small>"
    parts = [f'<article class="verdict"><h3>{heading}</h3>\n']
    if verdict.method is not None and verdict.value is not None:
        parts.append(f'<p class="winner">{escape(verdict.method)} leads</p>\n')
        parts.append(f'<p class="number"><b>{verdict.value:.3f}</b> <span>{_beside(verdict)}</span></p>\n')
    sentences = "".join(f"<li>{escape(sentence)}</li>\n" for sentence in verdict.sentences)
    return "".join((*parts, f"<ul>{sentences}</ul></article>\n"))


def _beside(verdict: Verdict) -> str:
    if verdict.interval is None:
        return "disentangle, mean over attributes"
    return f"disentangle, 95 % interval {verdict.interval[0]:.3f} – {verdict.interval[1]:.3f}"


def _fact(name: str, value: str) -> str:
    return f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>\n"


def _refusals(refusals: Sequence[Refusal]) -> str:
    if not refusals:
        return ""
    items = "".join(
        f"<li><b>{escape(r.method)}</b>, {escape(r.attribute)}: {escape(r.reason)}</li>\n" for r in refusals
    )
    count = f"{len(refusals)} without an answer"
    return f'<details class="refusals"><summary>{count}, and why</summary>\n<ul>{items}</ul></details>\n'


def _plots(drawings: Sequence[Drawing]) -> str:
    if not drawings:
        return "<p>The run's folder holds no plots.</p>\n"
    return "".join(_figure(drawing) for drawing in drawings)


def _figure(drawing: Drawing) -> str:
    caption = f"<figcaption>{escape(drawing.caption)}</figcaption>"
    if not drawing.svg:
        return f"<figure><p>{escape(drawing.note)}</p>{caption}</figure>\n"
    return f'<figure><div class="sheet">{drawing.svg}</div>{caption}</figure>\n'


def _environment(text: str) -> str:
    if not text:
        return ""
    summary = "<summary>Environment and fingerprints (environment.json)</summary>"
    return f'<details open>{summary}\n<pre tabindex="0">{escape(text)}</pre></details>\n'
