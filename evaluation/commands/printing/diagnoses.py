"""Diagnoses: of one featurizer with all its checks, of a run a line each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.commands.printing.lines import say
from evaluation.commands.printing.text import as_number, print_rows
from evaluation.records.diagnosis import Diagnosis, Undiagnosed

if TYPE_CHECKING:
    from evaluation.validity.diagnose_run import RunRow


def run_row_json(row: RunRow) -> dict[str, object]:
    """Return what `--json` prints of a diagnosed point of a run."""
    head = {"cell": row.cell, "method": row.method, "attribute": row.attribute, "seed": row.seed}
    if isinstance(row.found, Undiagnosed):
        return {**head, "reason": row.found.reason, "diagnosis": None}
    return {**head, "reason": None, "diagnosis": row.found.to_json()}


def print_run_rows(rows: Sequence[RunRow], folder: Path) -> None:
    """Print the verdict of every diagnosed point of a run, and where the numbers are."""
    for row in rows:
        said = row.found.reason if isinstance(row.found, Undiagnosed) else row.found.verdict
        say(f"{row.method}, {row.attribute}, seed {row.seed}: {said}")
    say(f"The numbers are in {folder}/cells/*/diagnostics.json and on the page {folder / 'report.html'}")


def print_diagnosis(found: Diagnosis) -> None:
    """Print the checks with what each found, the patches behind them, and the verdict."""
    split = f"{found.generalisation}_{found.partition}"
    pairs = f"{found.n_cause} cause and {found.n_isolate} isolate pairs of {split}"
    say(f"{found.method} for {found.attribute} at {found.site}, size {found.size} of {found.width}; {pairs}")
    print_rows(
        ["check", "result", "value", "passes", "finding"],
        [
            [
                check.name,
                check.result,
                as_number(check.value),
                f"{check.sense} {check.threshold:g}",
                check.reason or check.words,
            ]
            for check in found.checks
        ],
    )
    print_rows(
        ["patch", "of", "size", "cause", "isolate", "FLDD", "reach"],
        [
            [p.name, p.about, p.size, *(as_number(v) for v in (p.cause, p.isolate, p.fldd, p.reach))]
            for p in found.patches
            if not p.reason
        ],
    )
    say(f"Thresholds are conventions; {found.normalisation}.")
    say(f"Verdict: {found.verdict}")
