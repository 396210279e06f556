"""The block of the page that says how far each chosen subspace can be trusted; it diagnoses nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from evaluation.records.diagnosis import (
    DIAGNOSTICS,
    Check,
    Diagnosis,
    Measure,
    PatchScore,
    read_cell_diagnoses,
)
from evaluation.records.run_folder import RunFolder
from evaluation.records.scores import ScoreRecord

__all__ = ["DiagnosticsBlock", "diagnostics_html", "diagnostics_link", "read_block"]


@dataclass(frozen=True, slots=True)
class DiagnosticsBlock:
    """The diagnoses of a run's chosen points."""

    diagnoses: tuple[Diagnosis, ...] = ()
    """By method, attribute and seed."""
    undiagnosed: tuple[tuple[str, str, str], ...] = ()
    """Method, attribute and reason where no diagnosis applies."""


def read_block(run: RunFolder, chosen: Sequence[ScoreRecord]) -> DiagnosticsBlock:
    """Read `diagnostics.json` of the cells of chosen records; cells without one are passed over.

    Raises SuiteError for a file that can't be read.
    """
    served = sorted({(record.method, record.attribute, record.seed, record.cell) for record in chosen})
    found = {
        cell: read_cell_diagnoses(path)
        for cell in dict.fromkeys(cell for *_, cell in served)
        if (path := run.cell(cell).path / DIAGNOSTICS).is_file()
    }
    return DiagnosticsBlock(
        tuple(
            diagnosis
            for _, attribute, _, cell in served
            if cell in found
            for diagnosis in found[cell].diagnoses
            if diagnosis.attribute == attribute
        ),
        tuple(
            dict.fromkeys(
                (method, attribute, refused.reason)
                for method, attribute, _, cell in served
                if cell in found
                for refused in found[cell].undiagnosed
                if refused.attribute == attribute
            )
        ),
    )


def diagnostics_link(block: DiagnosticsBlock) -> str:
    """Return the entry of the page's navigation, empty where there is nothing to show."""
    return '<li><a href="#diagnostics">Diagnostics</a></li>\n' if _shown(block) else ""


def diagnostics_html(block: DiagnosticsBlock) -> str:
    """Return the section of the page, empty where there is nothing to show. All text is escaped."""
    if not _shown(block):
        return ""
    return (
        '<section id="diagnostics" aria-labelledby="diagnostics-title">\n'
        '<h2 id="diagnostics-title">Diagnostics</h2>\n'
        '<p class="lead">Whether each chosen subspace behaves like a variable that the model itself uses. '
        "Thresholds are conventions; no check proves or refutes an illusion by itself.</p>\n"
        f"{''.join(_diagnosis(diagnosis) for diagnosis in block.diagnoses)}"
        f"{_undiagnosed(block.undiagnosed)}</section>\n"
    )


def _shown(block: DiagnosticsBlock) -> bool:
    return bool(block.diagnoses or block.undiagnosed)


def _diagnosis(diagnosis: Diagnosis) -> str:
    failed = any(check.result == "failed" for check in diagnosis.checks)
    where = f"{diagnosis.generalisation}, {diagnosis.partition}"
    return (
        f'<details class="diagnosis" data-failed="{"yes" if failed else "no"}"><summary>'
        f"{escape(diagnosis.method)}, {escape(diagnosis.attribute)}, seed {diagnosis.seed}: "
        f"<span>{escape(diagnosis.verdict)}</span></summary>\n"
        f"<p>{escape(diagnosis.site)}, {diagnosis.size} of {diagnosis.width} directions; "
        f"{diagnosis.n_cause} cause and {diagnosis.n_isolate} isolate pairs ({escape(where)}). "
        f"{escape(diagnosis.normalisation.capitalize())}.</p>\n"
        f"{_table('Checks', _CHECKS, [_check(check) for check in diagnosis.checks])}"
        f"{_table('Patches', _PATCHES, [_patch(patch) for patch in diagnosis.patches])}"
        f"{_table('Measures', _MEASURES, [_measure(measure) for measure in diagnosis.measures])}"
        "</details>\n"
    )


_CHECKS = ("check", "result", "value", "passes at", "finding")
_PATCHES = ("patch", "of", "size", "cause", "isolate", "disentangle", "FLDD", "reach", "note")
_MEASURES = ("measure", "value", "note")


def _check(check: Check) -> tuple[str, ...]:
    bound = f"{check.sense} {check.threshold:g}"
    finding = check.reason if check.result == "not applicable" else check.words
    return check.name, check.result, _number(check.value), bound, finding


def _patch(patch: PatchScore) -> tuple[str, ...]:
    numbers = (patch.cause, patch.isolate, patch.disentangle, patch.fldd, patch.reach)
    size = "–" if patch.size is None else str(patch.size)
    return patch.name, patch.about, size, *map(_number, numbers), patch.reason


def _measure(measure: Measure) -> tuple[str, ...]:
    return measure.name, _number(measure.value), measure.reason or measure.detail


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows)
    return (
        f'<div class="scroll" role="region" aria-label="{escape(caption)}" tabindex="0"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>\n"
    )


def _undiagnosed(refused: Sequence[tuple[str, str, str]]) -> str:
    if not refused:
        return ""
    items = "".join(
        f"<li><b>{escape(method)}</b>, {escape(attribute)}: {escape(reason)}</li>\n"
        for method, attribute, reason in refused
    )
    summary = f"<summary>{len(refused)} without a diagnosis, and why</summary>"
    return f"<details>{summary}\n<ul>{items}</ul></details>\n"
