"""The page of a run that goes on, from what its finished cells say on validation cases; nothing is fitted and
no test case is read."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from evaluation.config.suite import SuiteConfig
from evaluation.records.run_folder import RunFolder
from evaluation.records.scores import JudgedCase, ScoreRecord
from evaluation.report.page import read_report, to_html, write_report
from evaluation.scoring.cells import CellScorer, cells_of_headers
from evaluation.tracks import track_of
from ravel.common.errors import SuiteError
from ravel.common.io import write_jsonl, write_text
from ravel.common.progress import Note, Progress, silent
from ravel.instance import Instance


def watch_run(
    path: Path, *, every: int = 10, progress: Progress = silent, wait: Callable[[float], None] = time.sleep
) -> Path:
    """Write the page of a run that goes on every so many seconds, until it is finished; return the page's
    path.

    The page loads itself anew as often. Raises SuiteError unless a run was begun in the folder.
    """
    run, said = RunFolder(path), -1
    run.require("start it: ravel run SUITE.yaml --out FOLDER")
    while not run.scores.is_file():
        headers = run.finished_cells()
        if len(headers) != said:
            said = len(headers)
            try:
                _write_page(run, every)
                progress(Note(f"{said} finished cells, {run.page}"))
            except SuiteError as error:
                # So early in a run that the instance is not there, or nothing can be chosen by.
                progress(Note(f"{said} finished cells, no page of them yet: {error}"))
        wait(every)
    return write_report(path)


def _write_page(run: RunFolder, every: int) -> None:
    """Write the page of what is there. Raises SuiteError where that is too little to choose points by."""
    records, n_cells = live_records(run)
    with TemporaryDirectory() as made:
        # The same page as at the end is read from a folder that looks like one at its end.
        shown = RunFolder(Path(made))
        for part in (run.config, run.environment, run.instance, run.path / "cells"):
            if part.exists():
                (shown.path / part.name).symlink_to(part.resolve())
        write_jsonl(shown.scores, (record.to_json() for record in records))
        report = read_report(shown.path)
        so_far = f"This run goes on; {n_cells} cells are finished. So far, on validation alone: "
        text = to_html(replace(report, headline=so_far + report.headline), refresh=every)
    if not run.scores.is_file():
        write_text(run.page, text)


def live_records(run: RunFolder) -> tuple[list[ScoreRecord], int]:
    """Return the validation records of the finished cells, those of the best points marked as chosen, and the
    number of cells."""
    config, instance = SuiteConfig.from_file(run.config), Instance.load(run.instance).without_test()
    track, attributes = track_of(config), config.attributes or instance.attributes
    model = Path(config.model).name or config.model
    cells = cells_of_headers(run.finished_cells(), instance.entity_type, model, attributes, config.seeds)

    def outcomes(cell: str, split: str) -> Sequence[JudgedCase]:
        return run.cell(cell).read_outcomes(split, len(track.cases(instance, split)), track.outcome)

    scorer = CellScorer(
        cells,
        instance,
        track,
        attributes=attributes,
        generalisations=config.generalisations,
        outcomes=outcomes,
    )
    chosen = {(cell, attribute) for (_, attribute), own in scorer.choose().items() for cell in own}
    return [replace(r, chosen=(r.cell, r.attribute) in chosen) for r in scorer.validation_scores()], len(
        cells
    )
