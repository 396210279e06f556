"""What the page of a run says, as plain values read from its folder; it knows no HTML and computes no
score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.records.control_checks import NECESSITY, ControlCheck
from evaluation.records.failures import failure_notes
from evaluation.records.run_folder import RunFolder
from evaluation.records.run_records import RunRecords
from evaluation.records.scores import (
    AverageRecord,
    ComparisonRecord,
    Outcome,
    Refusal,
    ScoreRecord,
    is_control,
)
from evaluation.report.common.families import by_family, family_of
from evaluation.report.common.shown_models import shown_run
from evaluation.report.page.dependence import DependenceBlock, dependence_block
from evaluation.report.page.diagnostics import DiagnosticsBlock, read_block
from evaluation.report.page.drawings import Drawing, read_drawings
from evaluation.report.page.pairs import browser_of
from evaluation.report.page.rows import KINDS, MEAN, ReportRow, points_of, rows_of
from evaluation.report.page.verdicts import Verdict, headline_of, verdicts_of
from evaluation.report.tables import Table, necessity_table, seed_table
from evaluation.report.tables.means import averages_without_outcomes, has_seeds
from evaluation.report.tables.model import Comparison, TableCell
from evaluation.report.tables.notes import not_covered, nothing_note
from evaluation.scoring.track import Track
from evaluation.tracks import TRACKS
from ravel.common.errors import SuiteError
from ravel.common.io import read_text
from ravel.instance import Instance, instance_warnings
from ravel.terms.schema import GENERALISATIONS, PARTITIONS


@dataclass(frozen=True, slots=True)
class Report:
    """Everything on the page."""

    track: Track[Any]
    """What was asked of the featurizers."""
    shows_pairs: bool
    """Whether single pairs have a section: they are what the track judges."""
    title: str
    """Entity type and model."""
    facts: tuple[tuple[str, str], ...]
    """What the run is, as (name, value)."""
    headline: str
    """The result in one sentence."""
    verdicts: tuple[Verdict, ...]
    """The result in words, one per generalisation."""
    drawings: tuple[Drawing, ...]
    """The plots."""
    refusals: tuple[Refusal, ...]
    """Methods that had no answer."""
    config: str
    """The suite as YAML."""
    environment: str
    """Fingerprints and environments as JSON text; empty if unknown."""
    notes: tuple[str, ...]
    """What a reader must know beside the numbers."""
    payload: Mapping[str, Any]
    """Rows and pairs as plain values, for the script of the page."""
    dependence: DependenceBlock
    """How attributes hang together; empty for a run without an instance."""
    diagnostics: DiagnosticsBlock
    """How far chosen subspaces can be trusted; empty where none was diagnosed."""
    controls: tuple[ControlCheck, ...]
    """Controls that must fail, each against its floor; empty where none was run."""
    beside: tuple[tuple[str, Table], ...]
    """Tables beside the scores, with what their summaries say: cause and necessity, the spread over fits."""


def read_report(folder: Path, model_label: str | None = None, records: RunRecords | None = None) -> Report:
    """Read a run, its model called by a label if there is one; from `records` instead where they are at hand.
    Raises SuiteError unless it is a run and has scores; other absent files are left out."""
    records = shown_run(folder, model_label) if records is None else records
    run, chosen, instance = records.folder, _chosen(records), records.instance
    # Controls have a block of their own: they are no contenders, and their pairs may be others.
    track = TRACKS.get(records.track)
    averages = [r for r in _averages(records, chosen, track) if not is_control(r.method)]
    attributes = _attributes(chosen, instance)
    rows = rows_of(averages, chosen, records.comparisons, track)
    verdicts = verdicts_of(rows, track)
    return Report(
        track=track,
        shows_pairs=issubclass(track.outcome, Outcome),
        title=f"{chosen[0].entity_type} · {chosen[0].model}",
        facts=tuple(_facts(chosen, attributes, instance, track)),
        headline=headline_of(verdicts, track),
        verdicts=verdicts,
        drawings=read_drawings(run.plots),
        refusals=tuple(records.refusals),
        config=read_text(run.config),
        environment=read_text(run.environment) if run.environment.is_file() else "",
        notes=(
            *([] if instance is None else instance_warnings(instance.manifest)),
            *_notes(rows, records.comparisons, track),
            *failure_notes(records.failures),
        ),
        payload={
            **_payload(rows, records, attributes, track),
            "pairs": None if instance is None else _browser(run, instance, chosen, attributes, track),
        },
        dependence=dependence_block(records, averages, track),
        diagnostics=read_block(run, chosen),
        controls=tuple(records.control_checks),
        beside=tuple(_beside(records, averages, track)),
    )


def _beside(
    records: RunRecords, averages: Sequence[AverageRecord], track: Track[Any]
) -> Iterator[tuple[str, Table]]:
    checks, tables = records.control_checks, track.tables
    if NECESSITY in tables and any(check.measure == NECESSITY for check in checks):
        yield "Cause and necessity: does the part carry it alone?", necessity_table(checks, averages, track)
    if "seeds" in tables and has_seeds(records.scores):
        yield "The spread over fits", seed_table(records.scores, averages, track)


def headline(
    scores: Sequence[ScoreRecord],
    averages: Sequence[AverageRecord],
    comparisons: Sequence[ComparisonRecord],
    track: str,
) -> str:
    """Return what came of a run on the track of this name as one sentence, the page's headline; controls are
    no contenders. Raises SuiteError for an unknown track."""
    asked = TRACKS.get(track)
    contenders = [record for record in averages if not is_control(record.method)]
    rows = rows_of(contenders, [record for record in scores if record.chosen], comparisons, asked)
    return headline_of(verdicts_of(rows, asked), asked)


def _chosen(records: RunRecords) -> list[ScoreRecord]:
    chosen = records.chosen(partition=None)
    if not chosen:
        raise SuiteError(
            expected="records of chosen points to make a page of",
            came=f"{len(records.scores)} records, none of which is chosen",
            todo="let the run finish first",
        )
    return chosen


def _averages(records: RunRecords, chosen: Sequence[ScoreRecord], track: Track[Any]) -> list[AverageRecord]:
    if records.averages is not None:
        return records.averages
    return [
        average
        for partition in PARTITIONS
        for average in averages_without_outcomes(
            [r for r in chosen if r.partition == partition], track.criterion
        )
    ]


def _browser(
    run: RunFolder,
    instance: Instance,
    chosen: Sequence[ScoreRecord],
    attributes: Sequence[str],
    track: Track[Any],
) -> dict[str, Any] | None:
    """Return single pairs with their answers, if that is what the track judges."""
    return browser_of(run, instance, chosen, attributes) if issubclass(track.outcome, Outcome) else None


def _payload(
    rows: Sequence[ReportRow],
    records: RunRecords,
    attributes: Sequence[str],
    track: Track[Any],
) -> dict[str, Any]:
    """Return the rows, and what they can be narrowed to."""
    chosen = records.chosen(partition=None)
    return {
        "rows": [
            {**_plain(row, track), "passes": records.passes(points_of(row.record, chosen))} for row in rows
        ],
        "methods": _methods(chosen, track),
        "families": list(by_family((record.method for record in chosen), track.floors)),
        "attributes": list(attributes),
        "generalisations": _present(GENERALISATIONS, [row.record.generalisation for row in rows]),
        "partitions": _present(("test", "val"), [row.record.partition for row in rows]),
        "kinds": _present(KINDS, [row.record.source_kind for row in rows]),
    }


def _present(order: Sequence[str], found: Sequence[str]) -> list[str]:
    return [name for name in order if name in found]


def _attributes(chosen: Sequence[ScoreRecord], instance: Instance | None) -> tuple[str, ...]:
    present = {record.attribute for record in chosen}
    order = sorted(present) if instance is None else instance.attributes
    return (*(a for a in order if a in present), *sorted(present - set(order)))


def _plain(row: ReportRow, track: Track[Any]) -> dict[str, Any]:
    record = row.record
    return {
        "method": record.method,
        "floor": row.floor,
        "attribute": row.attribute,
        "generalisation": record.generalisation,
        "partition": record.partition,
        "kind": record.source_kind,
        **{measure: _score(cell) for measure, cell in zip(track.names, row.cells, strict=True)},
        **{f"n_{name}": measured.n for name, measured in record.measures.items() if measured.n is not None},
        "below": row.below_nothing,
        "best": _difference(row.against_best),
        "no_op": _difference(row.against_baseline),
        "detail": row.detail,
        "seeds": len(record.seeds),
    }


def _score(cell: TableCell) -> dict[str, Any]:
    ends = None if cell.interval is None else [_short(end) for end in cell.interval]
    return {"value": _short(cell.value), "interval": ends, "best": cell.best}


def _difference(found: Comparison | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "other": found.other,
        "difference": _short(found.difference),
        "p": found.p,
        "differs": found.differs,
    }


def _short(value: float | None) -> float | None:
    # Sorting must not tie what differs, and six digits are beyond what any count of pairs resolves.
    return None if value is None else round(value, 6)


def _methods(chosen: Sequence[ScoreRecord], track: Track[Any]) -> list[dict[str, Any]]:
    floors, names = track.floors, {record.method for record in chosen}
    ordered = sorted(names, key=lambda name: (floors.index(name) + 1 if name in floors else 0, name))
    return [{"name": n, "floor": n in floors, "family": family_of(n, floors)} for n in ordered]


def _facts(
    chosen: Sequence[ScoreRecord], attributes: Sequence[str], instance: Instance | None, track: Track[Any]
) -> list[tuple[str, str]]:
    floors = set(track.floors)
    methods = {record.method for record in chosen}
    sites = sorted({record.site for record in chosen})
    facts = [
        ("Entity type", chosen[0].entity_type),
        ("Target model", chosen[0].model),
        ("Attributes", ", ".join(attributes)),
        (
            "Methods",
            f"{len(methods - floors)}, with {len(methods & floors)} floors and ceilings",
        ),
        ("Chosen sites", ", ".join(sites)),
        ("Seeds", ", ".join(str(seed) for seed in sorted({record.seed for record in chosen}))),
    ]
    if instance is not None:
        counts = [f"{split} {len(track.cases(instance, split))}" for split in instance.splits()]
        facts += [(track.unit.capitalize(), ", ".join(counts)), ("Instance", instance.fingerprint[:16])]
    return facts


def _notes(
    rows: Sequence[ReportRow], comparisons: Sequence[ComparisonRecord], track: Track[Any]
) -> list[str]:
    adjusted = any(found.p_adjusted is not None for found in comparisons)
    partial = sorted({row.record.method for row in rows if row.fewer})
    measures = " ".join(f"{measure.name.capitalize()}: {measure.says}." for measure in track.measures)
    said = (
        (True, f"{measures} Best in bold."),
        (
            True,
            f"Site, size and setting were chosen on validation {track.unit}; test {track.unit} then judged "
            "the chosen points.",
        ),
        (
            True,
            "Below each score: its 95 % interval, with entities and templates as clusters, "
            f"{not_covered(len({seed for row in rows for seed in row.record.seeds}))}."
            if any(row.record.interval(track.criterion) is not None for row in rows)
            else "No intervals: the outcomes they are drawn from were not at hand.",
        ),
        (
            adjusted,
            f"p: of the paired difference in {track.criterion}, adjusted for all comparisons of the split.",
        ),
        (
            bool(comparisons) and not adjusted,
            "This run has no p-values; two rows differ where the paired 95 % interval excludes 0.",
        ),
        (
            any(row.floor for row in rows),
            "Floors and ceilings learn nothing of the attribute; they bound the other rows.",
        ),
        (
            bool(partial),
            "A mean over fewer attributes than the other rows', and so never the best: "
            f"{', '.join(partial)}.",
        ),
        (
            any(row.below_nothing for row in rows),
            f"†: {nothing_note(track)}.",
        ),
        (
            len({row.record.attributes for row in rows if row.attribute == MEAN}) > 1,
            "Not every mean is over the same attributes: some methods have no answer for some.",
        ),
    )
    return [note for applies, note in said if applies]
