"""Sums up a run: writes records, tables, figures and the page from the outcomes of judged cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

from evaluation.config.suite import SuiteConfig
from evaluation.records.control_checks import CONTROL_CHECKS, ControlCheck
from evaluation.records.failures import Failure, failure_refusals, write_failures
from evaluation.records.run_folder import RunFolder
from evaluation.records.scores import (
    AverageRecord,
    ComparisonRecord,
    Outcome,
    Refusal,
    ScoredKind,
    ScoreRecord,
)
from evaluation.report.page import write_report
from evaluation.report.publish import write_publication
from evaluation.scoring.scores import of_kind
from evaluation.scoring.summary import (
    Evidence,
    SplitContext,
    average_records,
    comparison_records,
    sample_methods,
)
from evaluation.suite.cell_scores import CellScorer
from evaluation.suite.cells.context import RunContext
from evaluation.suite.cells.finished import cell_outcomes
from evaluation.suite.control_runs.results import ControlResults
from evaluation.suite.grid import Cell, ChosenCells
from evaluation.suite.select import refusals, tested
from ravel.common.io import remove_file, write_jsonl
from ravel.facts.schema import SOURCE_KINDS, Generalisation, Partition, split_name

__all__ = ["RunSummary", "finish"]

_SCORED: tuple[Partition, ...] = ("val", "test")


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
    scorer: CellScorer,
    controls: ControlResults,
    failures: Sequence[Failure] = (),
) -> RunSummary:
    """Write scores, averages, comparisons, tables, plots and the page from the outcomes of judged cells."""
    averages, comparisons = _summaries(chosen, scorer)
    refused = [*refusals(cells, chosen, scorer), *controls.refusals]
    refused += failure_refusals(failures, _holes(chosen, refused, scorer))
    summary = RunSummary(
        folder=scorer.context.run.path,
        config=scorer.config,
        scores=tuple(sorted(_scores(cells, chosen, scorer), key=_score_order)),
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
    write_publication(run)
    write_report(run.path)


def _holes(chosen: ChosenCells, refused: Sequence[Refusal], scorer: CellScorer) -> list[tuple[str, str]]:
    """Return the methods and attributes that have neither a chosen point nor a refusal."""
    explained = {(refusal.method, refusal.attribute) for refusal in refused}
    asked = [(spec.name, attribute) for spec in scorer.config.methods for attribute in scorer.attributes]
    return [key for key in dict.fromkeys(asked) if key not in chosen and key not in explained]


def _scores(cells: Sequence[Cell], chosen: ChosenCells, scorer: CellScorer) -> Iterator[ScoreRecord]:
    """Yield the records of every cell that has a featurizer, and those by kind of source of chosen ones."""
    judged = {cell.cell_id for cell in tested(cells, chosen)}
    flagged = {(cell.cell_id, attribute) for (_, attribute), group in chosen.items() for cell in group}
    for cell in cells:
        if scorer.refusal(cell) is not None:
            continue
        partitions = _SCORED if cell.cell_id in judged else _SCORED[:1]
        for generalisation, partition in product(scorer.config.generalisations, partitions):
            for record in scorer.records(cell, scorer.attributes, generalisation, partition):
                yield replace(record, chosen=(record.cell, record.attribute) in flagged)
    for (_, attribute), group in chosen.items():
        for cell, generalisation, kind in product(group, scorer.config.generalisations, SOURCE_KINDS):
            for record in scorer.records(cell, (attribute,), generalisation, "test", kind):
                if record.n_cause or record.n_isolate:
                    yield replace(record, chosen=True)


def _score_order(record: ScoreRecord) -> tuple[str, str, str, int, int, str, str, str, str]:
    return (
        record.method,
        record.attribute,
        record.site,
        record.size,
        record.seed,
        record.generalisation,
        record.partition,
        record.cell,
        "" if record.source_kind == "all" else record.source_kind,
    )


def _summaries(chosen: ChosenCells, scorer: CellScorer) -> tuple[list[AverageRecord], list[ComparisonRecord]]:
    averages: list[AverageRecord] = []
    comparisons: list[ComparisonRecord] = []
    for generalisation, partition in product(scorer.config.generalisations, _SCORED):
        split = split_name(generalisation, partition)
        if not scorer.context.instance.pairs(split):
            continue
        context = _split_context(scorer, generalisation, partition)
        samples = sample_methods(_evidence(chosen, scorer.context, split), context.resamples)
        averages += average_records(samples, context)
        if partition == "test":
            comparisons += comparison_records(samples, context)
            averages += _averages_by_kind(chosen, scorer, split, context)
    return averages, comparisons


def _averages_by_kind(
    chosen: ChosenCells, scorer: CellScorer, split: str, context: SplitContext
) -> Iterator[AverageRecord]:
    for kind in SOURCE_KINDS:
        samples = sample_methods(_evidence(chosen, scorer.context, split, kind), context.resamples)
        records = average_records(samples, replace(context, source_kind=kind))
        yield from (record for record in records if record.n_cause or record.n_isolate)


def _split_context(scorer: CellScorer, generalisation: Generalisation, partition: Partition) -> SplitContext:
    return SplitContext(
        entity_type=scorer.context.instance.entity_type,
        model=scorer.context.target.name,
        generalisation=generalisation,
        partition=partition,
        resamples=scorer.resamples(split_name(generalisation, partition)),
    )


def _evidence(
    chosen: ChosenCells, context: RunContext, split: str, source_kind: ScoredKind = "all"
) -> list[Evidence]:
    return [
        Evidence(
            method,
            attribute,
            seeds=tuple(cell.seed for cell in group),
            read=partial(_read_group, group, context, split, source_kind),
        )
        for (method, attribute), group in chosen.items()
    ]


def _read_group(
    group: Sequence[Cell], context: RunContext, split: str, source_kind: ScoredKind
) -> list[Sequence[Outcome]]:
    return [of_kind(cell_outcomes(cell, context, split), source_kind) for cell in group]
