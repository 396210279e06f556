"""The page of a run that goes on: what finished cells say on validation, until the run's own page takes its
place."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cli_world import ravel

from evaluation.records.run_folder import RunFolder
from evaluation.records.scores import ScoreRecord, read_scores
from evaluation.report.live import live_records, watch_run
from evaluation.report.page import write_report
from ravel.common.errors import SuiteError
from ravel.common.progress import Event, Note

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "v2" / "run"
AT_THE_END = ("scores.jsonl", "averages.jsonl", "comparisons.jsonl", "refusals.jsonl")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of which some cells are finished."""
    folder = Path(shutil.copytree(GOLDEN, tmp_path / "run"))
    for name in AT_THE_END:
        (folder / name).unlink()
    for path in folder.glob("cells/*/outcomes/*_test.jsonl"):
        path.unlink()
    return folder


def finish(folder: Path) -> None:
    """What the run itself does in the end."""
    shutil.copytree(GOLDEN, folder, dirs_exist_ok=True)


def test_a_page_stands_while_the_run_goes_on_and_then_its_own(run: Path) -> None:
    seen: list[str] = []

    def wait(seconds: float) -> None:
        assert seconds == 7
        seen.append((run / "report.html").read_text())
        if len(seen) == 2:
            finish(run)

    assert watch_run(run, every=7, wait=wait) == run / "report.html"
    assert seen[0] == seen[1]
    assert '<meta http-equiv="refresh" content="7">' in seen[0]
    assert "This run goes on; 7 cells are finished. So far, on validation alone: " in seen[0]
    last = (run / "report.html").read_text()
    assert 'http-equiv="refresh"' not in last
    assert last == write_report(run, out=run.parent / "own.html").read_text()


def test_what_it_shows_is_what_the_run_scores_on_validation(run: Path) -> None:
    def by_cell(records: list[ScoreRecord]) -> set[tuple[str, str, float | None]]:
        return {(r.cell, r.attribute, r.value("disentangle")) for r in records if r.partition == "val"}

    records, n_cells = live_records(RunFolder(run))
    assert by_cell(read_scores(GOLDEN / "scores.jsonl")) <= by_cell(records)
    assert {r.partition for r in records} == {"val"}
    assert len({r.cell for r in records}) == n_cells


def test_too_little_is_said_and_waited_for(run: Path) -> None:
    shutil.move(run / "cells", run.parent / "kept")
    said: list[Event] = []

    def wait(seconds: float) -> None:
        assert not (run / "report.html").exists()
        finish(run)

    watch_run(run, progress=said.append, wait=wait)
    assert [isinstance(event, Note) and "no page of them yet" in event.text for event in said] == [True]


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="ravel run"):
        watch_run(tmp_path)
    assert ravel("watch", tmp_path).exit_code == 2
