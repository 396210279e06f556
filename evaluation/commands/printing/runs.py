"""A finished run: its tables, its failures, and where its files lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.commands.printing.lines import say
from evaluation.commands.printing.result import Result
from evaluation.commands.printing.run_warnings import warnings_of
from evaluation.commands.printing.text import print_notes
from evaluation.records.control_checks import control_summary
from evaluation.records.run_folder import RunFolder
from evaluation.report.common.shown_models import called
from ravel.common.sizes import peak_bytes

if TYPE_CHECKING:
    from evaluation.suite.run import RunSummary


_FAILED = 1


def print_run(summary: RunSummary) -> None:
    """Print what came of a finished run in a sentence, its main table, what differs between methods, and
    where everything lies, the page last."""
    # Page and tables bring along what the command line would start slowly with.
    from evaluation.commands.printing.comparisons import print_comparisons
    from evaluation.commands.printing.tables import print_table
    from evaluation.report.page import headline
    from evaluation.report.tables import main_table

    track = summary.config.track.name
    print_notes([headline(summary.scores, summary.averages, summary.comparisons, track), ""])
    label = summary.config.model_label
    scores, averages = called(summary.scores, label), called(summary.averages, label)
    comparisons = called(summary.comparisons, label)
    main = main_table(scores, averages, comparisons=comparisons, refusals=summary.refusals)
    print_table(main)
    print_comparisons(main)
    for sentence in control_summary(summary.controls):
        say(sentence)
    say("")
    say(f"Per attribute: ravel table {summary.folder} --table attributes")
    for what, path in sorted(_places(summary.folder).items(), key=lambda place: place[0] == "page"):
        say(f"{what + ':':<14}{path}")


def run_json(summary: RunSummary) -> dict[str, Any]:
    """Return what `--json` prints of a finished run."""
    return {
        "out": str(summary.folder),
        "averages": [record.to_json() for record in summary.averages],
        "comparisons": [record.to_json() for record in summary.comparisons],
        "refusals": [record.to_json() for record in summary.refusals],
        "controls": [record.to_json() for record in summary.controls],
        "failures": [record.to_json() for record in summary.failures],
        "files": {what: str(path) for what, path in _places(summary.folder).items()},
    }


def _places(folder: Path) -> dict[str, Path]:
    run_folder = RunFolder(folder)
    return {
        "scores": run_folder.scores,
        "averages": run_folder.averages,
        "comparisons": run_folder.comparisons,
        "page": run_folder.page,
        "tables": run_folder.tables,
        "plots": run_folder.plots,
        "featurizers": folder / "cells",
        "instance": run_folder.instance,
        "refusals": run_folder.refusals,
        "config": run_folder.config,
        "environment": run_folder.environment,
    }


def run_result(summary: RunSummary, seconds: float, *, of_preset: bool) -> Result:
    """Return a finished run with what it took, and with an exit code for a script if cells failed."""
    memory = peak_bytes()
    published = RunFolder(summary.folder).tables / "published.md"

    def text() -> None:
        print_run(summary)
        if of_preset and published.is_file():
            say(published.read_text(encoding="utf-8"))
        say(f"{'took:':<14}{seconds / 60:.1f} min, peak memory {memory / 2**30:.2f} GiB")

    return Result(
        {**run_json(summary), "seconds": seconds, "peak_memory_bytes": memory},
        text,
        warnings=warnings_of(summary),
        exit_code=_FAILED if summary.failures else 0,
    )
