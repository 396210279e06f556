"""The block of the page that says how far each chosen subspace can be trusted; it diagnoses nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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

_CHECKS = ("check", "result", "value", "passes at", "finding")
_PATCHES = ("patch", "of", "size", "cause", "isolate", "disentangle", "FLDD", "reach", "note")
_MEASURES = ("measure", "value", "note")
_Grid = tuple[str, tuple[str, ...], list[tuple[str, ...]]]
"""A caption, a header and rows."""


@dataclass(frozen=True, slots=True)
class DiagnosticsBlock:
    """The diagnoses of a run's chosen points."""

    diagnoses: tuple[Diagnosis, ...] = ()
    """By method, attribute and seed."""
    undiagnosed: tuple[tuple[str, str, str], ...] = ()
    """Method, attribute and reason where no diagnosis applies."""

    def __bool__(self) -> bool:
        """Tell whether there is anything to show."""
        return bool(self.diagnoses or self.undiagnosed)


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


def diagnosis_grids(diagnosis: Diagnosis) -> list[_Grid]:
    """Return the tables of a diagnosis: checks, patches and measures."""
    return [
        ("Checks", _CHECKS, [_check(check) for check in diagnosis.checks]),
        ("Patches", _PATCHES, [_patch(patch) for patch in diagnosis.patches]),
        ("Measures", _MEASURES, [_measure(measure) for measure in diagnosis.measures]),
    ]


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
