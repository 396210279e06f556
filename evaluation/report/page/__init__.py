"""One self-contained HTML page of a run: records and outcomes in, a file that opens offline out; nothing is
scored."""

from __future__ import annotations

from pathlib import Path

from evaluation.records.run_records import RunRecords
from evaluation.report.page.build import Report, headline, read_report
from evaluation.report.page.html import to_html
from ravel.common.io import write_text

__all__ = ["REPORT", "Report", "headline", "read_report", "to_html", "write_report"]

REPORT = "report.html"
"""Name of the page in the folder of a run."""


def write_report(
    run_folder: Path,
    *,
    out: Path | None = None,
    model_label: str | None = None,
    records: RunRecords | None = None,
) -> Path:
    """Write the page of a finished run, by default as `report.html` in its folder; return its path.
    `model_label` is what the page calls the model, by default as the suite says. `records` are the run's as
    they are to be shown, where they are at hand.

    Equal runs give equal pages. Raises SuiteError if the folder holds no run or the run has no scores yet;
    any other absent file only leaves out the part of the page that is drawn from it.
    """
    path = run_folder / REPORT if out is None else out
    write_text(path, to_html(read_report(run_folder, model_label, records)))
    return path
