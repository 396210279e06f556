"""All tables and figures of a finished run, from the files of its folder; no model is loaded and nothing is
scored again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evaluation.records.overlaps import EntanglementRecord
from evaluation.records.run_folder import RunFolder
from evaluation.records.run_records import RunRecords
from evaluation.records.scores import Outcome, ScoreRecord
from evaluation.report.angles import angle_records, read_parts
from evaluation.report.common.shown_models import shown_records
from evaluation.report.plots import FORMATS, PLOTS, Format, PlotInputs, TrainingLog, write_plots
from evaluation.report.tables import write_tables
from evaluation.report.tables.means import averages_without_outcomes
from evaluation.report.tables.of_runs import tables_of_run
from evaluation.scoring.interchange.entanglement import entanglement_records
from evaluation.scoring.interchange.post_hoc import read_derived, write_derived
from evaluation.tracks import TRACKS
from ravel.common.errors import SuiteError, unknown_name
from ravel.common.io import read_jsonl, write_jsonl
from ravel.common.seeds import grouped
from ravel.terms.schema import split_name

_OF_RUNS: tuple[Format, ...] = ("png", "svg")
"""What a run draws unasked: what its page and a reader look at. PDF takes as long as both, for its fonts."""


def write_publication(run: RunFolder, records: RunRecords | None = None) -> list[Path]:
    """Write all tables and figures of a run whose records are written; return the paths. `records` are those
    of `shown_records(run)`, where they are at hand.

    Reads `scores.jsonl` and what else there is of `averages.jsonl`, `comparisons.jsonl`, `refusals.jsonl` and
    the chosen cells. Equal folders give equal files.
    """
    records = shown_records(run) if records is None else records
    return [*publish_tables(run, records), *publish_plots(run, records=records, formats=_OF_RUNS)]


def publish_tables(run: RunFolder, records: RunRecords | None = None) -> list[Path]:
    """Write the tables of a run into its `tables/`; return the paths. `records` as in `write_publication`.

    The numbers behind those of balanced scores and of dependence go into the run's folder, as JSON Lines.
    """
    records = shown_records(run) if records is None else records
    # Its numbers name the model as the run's files do, its tables as it is to be called.
    derived = write_derived(records.as_written, TRACKS.get(records.track))
    return write_tables(tables_of_run(records, derived), run.tables)


def publish_plots(
    run: RunFolder,
    folder: Path | None = None,
    names: Sequence[str] | None = None,
    records: RunRecords | None = None,
    formats: Sequence[Format] = FORMATS,
) -> list[Path]:
    """Write the figures of these names (by default all) that the run's track has into `folder` (by default
    the run's `plots/`), in each of the formats.

    The numbers behind the heat maps go beside them, as `entanglement.jsonl` and `angles.jsonl`. Returns the
    paths of the figures; raises SuiteError for an unknown name. `records` as in `write_publication`.
    """
    place = run.plots if folder is None else folder
    inputs = plot_inputs(run, names, records)
    for name, behind in (("entanglement", inputs.entanglement), ("angles", inputs.angles)):
        if behind:
            write_jsonl(place / f"{name}.jsonl", (record.to_json() for record in behind))
    return write_plots(inputs, place, names, formats)


def draw_run(run_path: Path, out: Path | None = None, names: Sequence[str] | None = None) -> list[Path]:
    """Draw the figures of these names (by default all) of a finished run; return their paths.

    They go into `out`, by default the run's `plots/`. Raises SuiteError for an unknown name, a folder that is
    no finished run, and where there is nothing to draw.
    """
    for name in names or ():
        if name not in PLOTS:
            raise unknown_name("plot", name, [*PLOTS, "all"])
    paths = publish_plots(RunRecords.open(run_path).folder, out, names)
    if not paths:
        raise SuiteError(
            expected=f"records to draw {', '.join(names or ['all'])} from in {run_path}",
            came="none: sizes and layers need several of them, angles fitted parts, training a method that "
            "trains",
            todo="choose another --plot, or run a suite that has them",
        )
    return paths


def plot_inputs(
    run: RunFolder, names: Sequence[str] | None = None, records: RunRecords | None = None
) -> PlotInputs:
    """Read from a run what the figures of these names (by default all) are drawn from. `records` as in
    `write_publication`."""
    records = shown_records(run) if records is None else records
    track = TRACKS.get(records.track)
    wanted = set(track.plots if names is None else names) & set(track.plots)
    chosen = records.chosen()
    cells = [run.cell(cell) for cell in sorted({record.cell for record in chosen})]
    averages = records.averages
    return PlotInputs(
        scores=records.scores,
        averages=averages_without_outcomes(chosen, track.criterion) if averages is None else averages,
        entanglement=_entanglement(records) if "entanglement" in wanted else (),
        dependence=read_derived(records, track).dependence if "entanglement" in wanted else (),
        angles=angle_records(read_parts([cell.path for cell in cells])) if "angles" in wanted else (),
        logs=_logs(run, chosen) if "training" in wanted else (),
        track=track,
    )


def _entanglement(run: RunRecords) -> list[EntanglementRecord]:
    """Read each cell's outcomes once; a cell may be the chosen one of several attributes."""
    served = grouped(run.chosen(), lambda r: (r.cell, split_name(r.generalisation, r.partition)))
    records: list[EntanglementRecord] = []
    for (cell, split), group in served.items():
        outcomes = run.outcomes(cell, split, Outcome)
        if outcomes is None:
            continue
        found = entanglement_records(outcomes, group[0])
        records += [replace(record, swapped=other.attribute) for other in group for record in found]
    return sorted(records, key=lambda r: (r.method, r.generalisation, r.swapped, r.asked, r.seed))


def _logs(run: RunFolder, chosen: Sequence[ScoreRecord]) -> list[TrainingLog]:
    logs = []
    for cell, records in sorted(grouped(chosen, lambda record: record.cell).items()):
        path, attributes = run.cell(cell).train_log, {record.attribute for record in records}
        if path.is_file():
            rows = tuple(_log_row(row, f"{path}, line {line}") for line, row in read_jsonl(path))
            attribute = attributes.pop() if len(attributes) == 1 else "*"
            logs.append(TrainingLog(records[0].method, attribute, records[0].seed, rows))
    return sorted(logs, key=lambda log: (log.method, log.attribute, log.seed))


def _log_row(row: dict[str, Any], origin: str) -> dict[str, Any]:
    """Return a row of a training log. Raises SuiteError where a measure that is drawn is no number."""
    if row.get("phase") in ("train", "validation"):
        for name, value in row.items():
            if name != "phase" and type(value) not in (int, float):
                raise SuiteError(
                    expected=f"a number as {name!r} in {origin}",
                    came=repr(value),
                    todo="restore the log, or remove it: only the plot of the training is drawn from it",
                )
    return row
