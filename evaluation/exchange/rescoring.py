"""The outcomes of a finished run summed up by another version of the metric; no model is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.config.suite import SuiteConfig
from evaluation.records.run_records import RunRecords
from evaluation.records.scores import AverageRecord, ComparisonRecord, JudgedCase, ScoreRecord, is_control
from evaluation.report.tables.build import main_table
from evaluation.report.tables.markdown import to_markdown
from evaluation.scoring.cells import CellScorer, cells_of_headers
from evaluation.scoring.track import Track
from evaluation.tracks import track_of
from ravel.common.errors import SuiteError
from ravel.common.folders import new_folder
from ravel.common.io import write_json, write_jsonl, write_text
from ravel.instance import Instance

Choice = Mapping[tuple[str, str], Sequence[str]]
"""The ids of the chosen cells, one per seed, by method and attribute."""


@dataclass(frozen=True, slots=True)
class Rescored:
    """A run under another metric version."""

    out: Path
    """The folder with the records."""
    run: Path
    """The run."""
    metric: str
    """The version."""
    says: str
    """What it does."""
    scores: tuple[ScoreRecord, ...]
    """As a run's `scores.jsonl`."""
    averages: tuple[AverageRecord, ...]
    """As a run's `averages.jsonl`."""
    comparisons: tuple[ComparisonRecord, ...]
    """As a run's `comparisons.jsonl`."""
    otherwise: tuple[str, ...]
    """Where this version would have chosen another point on validation pairs; the run's points stay, for no
    other was judged on test pairs."""

    def to_json(self) -> dict[str, Any]:
        """Return what was done as plain values, without the records."""
        return {
            "run": str(self.run),
            "metric": self.metric,
            "says": self.says,
            "scores": len(self.scores),
            "chosen_otherwise": list(self.otherwise),
        }


def rescore_run(run: Path, metric: str, out: Path) -> Rescored:
    """Write the scores, averages and comparisons of a finished run under a metric version of its track into
    the new folder `out`, beside the main table and `rescored.json`, which says what was done.

    The chosen points stay. Rows of controls are left out. Raises SuiteError for a run that is not finished,
    an unknown version, outcomes that are missing, and a folder that is taken.
    """
    records = RunRecords.open(run)
    config = SuiteConfig.from_file(records.folder.config)
    track = track_of(config).under(metric)
    scorer = _scorer(records, config, track)
    choice = _choice_of(records)
    averages, comparisons = scorer.averages(choice)
    rescored = Rescored(
        out=out,
        run=run,
        metric=metric,
        says=next(version.says for version in track.versions if version.name == metric),
        scores=tuple(scorer.scores(choice)),
        averages=tuple(averages),
        comparisons=tuple(comparisons),
        otherwise=tuple(_otherwise(choice, scorer.choose())),
    )
    _write(rescored, records)
    return rescored


def _scorer(records: RunRecords, config: SuiteConfig, track: Track[Any]) -> CellScorer:
    run, instance = records.folder, Instance.load(records.folder.instance)
    attributes = config.attributes or instance.attributes

    def outcomes(cell: str, split: str) -> Sequence[JudgedCase]:
        return run.cell(cell).read_outcomes(split, len(track.cases(instance, split)), track.outcome)

    known = {record.cell for record in records.scores}
    headers = [header for header in run.finished_cells() if header["cell"] in known]
    return CellScorer(
        cells_of_headers(headers, instance.entity_type, records.scores[0].model, attributes, config.seeds),
        instance,
        track,
        attributes=attributes,
        generalisations=config.generalisations,
        outcomes=outcomes,
    )


def _choice_of(records: RunRecords) -> Choice:
    """Return what the run chose: methods in its order, seeds in theirs."""
    chosen: dict[tuple[str, str], dict[str, int]] = {}
    for record in records.scores:
        if record.chosen and not is_control(record.method):
            chosen.setdefault((record.method, record.attribute), {})[record.cell] = record.seed
    methods = list(dict.fromkeys(average.method for average in records.averages or ()))
    return {
        key: sorted(chosen[key], key=chosen[key].__getitem__)
        for key in sorted(
            chosen, key=lambda key: methods.index(key[0]) if key[0] in methods else len(methods)
        )
    }


def _otherwise(stays: Choice, would_be: Choice) -> list[str]:
    return [
        f"{method} for {attribute}"
        for (method, attribute), cells in stays.items()
        if set(would_be.get((method, attribute), ())) != set(cells)
    ]


def _write(rescored: Rescored, records: RunRecords) -> None:
    if not rescored.scores:
        raise SuiteError(
            expected="a run with scores", came="none", todo="go on with the run until it has ended"
        )
    table = main_table(
        rescored.scores, rescored.averages, comparisons=rescored.comparisons, refusals=records.refusals
    )
    note = f"\nMetric {rescored.metric}: {rescored.says}.\n"
    with new_folder(rescored.out) as folder:
        write_jsonl(folder / "scores.jsonl", (record.to_json() for record in rescored.scores))
        write_jsonl(folder / "averages.jsonl", (record.to_json() for record in rescored.averages))
        write_jsonl(folder / "comparisons.jsonl", (record.to_json() for record in rescored.comparisons))
        write_text(folder / "main.md", to_markdown(table) + note)
        write_json(folder / "rescored.json", rescored.to_json())
