"""Sums up a run: writes records, tables, figures and the page from the outcomes of judged cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.config.suite import SuiteConfig
from evaluation.records.control_checks import CONTROL_CHECKS, ControlCheck
from evaluation.records.failures import Failure, failure_refusals, write_failures
from evaluation.records.run_folder import RunFolder
from evaluation.records.scores import AverageRecord, ComparisonRecord, Refusal, ScoreRecord
from evaluation.report.common.shown_models import shown_records
from evaluation.report.page import write_report
from evaluation.report.publish import write_publication
from evaluation.suite.cells.context import RunContext
from evaluation.suite.cells.finished import cell_refusal
from evaluation.suite.control_runs.results import ControlResults
from evaluation.suite.grid import Cell, ChosenCells
from evaluation.suite.select import scorer_of
from ravel.common.io import remove_file, write_jsonl


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a finished run holds; all of it is in the folder too."""

    folder: Path
    """The run."""
    config: SuiteConfig
    """The resolved config."""
    scores: tuple[ScoreRecord, ...]
    """As in `scores.jsonl`."""
    averages: tuple[AverageRecord, ...]
    """As in `averages.jsonl`."""
    comparisons: tuple[ComparisonRecord, ...]
    """As in `comparisons.jsonl`."""
    refusals: tuple[Refusal, ...]
    """As in `refusals.jsonl`."""
    controls: tuple[ControlCheck, ...] = ()
    """As in `control_checks.jsonl`; none without controls."""
    failures: tuple[Failure, ...] = ()
    """As in `failures.jsonl`: cells that failed each time they were tried."""


def finish(
    cells: Sequence[Cell],
    chosen: ChosenCells,
    context: RunContext,
    config: SuiteConfig,
    controls: ControlResults,
    failures: Sequence[Failure] = (),
) -> RunSummary:
    """Write scores, averages, comparisons, tables, plots and the page from the outcomes of judged cells."""
    scorer = scorer_of(cells, context, config)
    chosen_ids = {key: [cell.cell_id for cell in group] for key, group in chosen.items()}
    averages, comparisons = scorer.averages(chosen_ids)
    refused = [*_refusals(cells, chosen, context, config), *controls.refusals]
    refused += failure_refusals(failures, _holes(chosen, refused, config))
    summary = RunSummary(
        folder=context.run.path,
        config=config,
        scores=tuple(scorer.scores(chosen_ids)),
        averages=(*averages, *controls.averages),
        comparisons=tuple(comparisons),
        refusals=tuple(refused),
        controls=controls.checks,
        failures=tuple(failures),
    )
    _write(summary)
    return summary


def _write(summary: RunSummary) -> None:
    run = RunFolder(summary.folder)
    # Of workers that died while their jobs were given to others.
    run.remove_leftovers()
    write_jsonl(run.averages, (record.to_json() for record in summary.averages))
    write_jsonl(run.comparisons, (record.to_json() for record in summary.comparisons))
    write_jsonl(run.refusals, (record.to_json() for record in summary.refusals))
    if summary.controls:
        write_jsonl(run.path / CONTROL_CHECKS, (check.to_json() for check in summary.controls))
    else:
        # Those of an earlier config that had controls.
        remove_file(run.path / CONTROL_CHECKS)
    write_failures(run.path, summary.failures)
    # Last, for its presence says that a run is finished.
    write_jsonl(run.scores, (record.to_json() for record in summary.scores))
    # One for all that is published, so that each file is read once.
    records = shown_records(run)
    write_publication(run, records)
    write_report(run.path, records=records)


def _refusals(
    cells: Sequence[Cell], chosen: ChosenCells, context: RunContext, config: SuiteConfig
) -> list[Refusal]:
    """Return the methods and attributes of which no cell has a featurizer, with the first cell's reason."""
    reasons: dict[tuple[str, str], str] = {}
    for cell in cells:
        reason = cell_refusal(cell, context)
        for attribute in config.attributes or ():
            if reason is not None and cell.serves(attribute) and (cell.method, attribute) not in chosen:
                reasons.setdefault((cell.method, attribute), reason)
    return [Refusal(method, attribute, reason) for (method, attribute), reason in sorted(reasons.items())]


def _holes(chosen: ChosenCells, refused: Sequence[Refusal], config: SuiteConfig) -> list[tuple[str, str]]:
    """Return the methods and attributes that have neither a chosen point nor a refusal."""
    explained = {(refusal.method, refusal.attribute) for refusal in refused}
    asked = [(spec.name, attribute) for spec in config.methods for attribute in config.attributes or ()]
    return [key for key in dict.fromkeys(asked) if key not in chosen and key not in explained]
