"""What a finished run has to warn of: what its build warned of, and cells that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evaluation.records.failures import FAILURES
from evaluation.records.run_folder import RunFolder
from ravel.common.io import read_json
from ravel.instance import Manifest, instance_warnings

if TYPE_CHECKING:
    from evaluation.suite.run import RunSummary


_NAMED_FAILURES = 5


def warnings_of(summary: RunSummary) -> list[str]:
    """Return a paragraph for each thing to warn of; with none, nothing."""
    return [*_of_the_build(summary), *_of_cells(summary)]


def _of_the_build(summary: RunSummary) -> list[str]:
    """Return what the build of the run's instance warned of."""
    manifest = RunFolder(summary.folder).instance / "manifest.json"
    return instance_warnings(Manifest.from_json(read_json(manifest), origin=str(manifest)))


def _of_cells(summary: RunSummary) -> list[str]:
    """Return a paragraph for the first cells that failed, and one for all of them; with none, nothing."""
    if not summary.failures:
        return []
    named = [
        f"Failed in {failure.attempts} attempts: {failure.label()}. {failure.error}"
        for failure in summary.failures[:_NAMED_FAILURES]
    ]
    return [
        *named,
        f"{len(summary.failures)} cells failed and are left out of the tables; {FAILURES} in the run has "
        "their errors. The same command tries them again.",
    ]
