"""A fit's workspace: an empty log for every attempt, reports by name, no checkpoint once the cell stands."""

from __future__ import annotations

from pathlib import Path

from evaluation.records.run_folder import RunFolder
from evaluation.suite.cells.workspace import FolderWorkspace
from ravel.common.io import read_jsonl
from ravel.common.progress import Counted, Event, silent


def test_a_second_attempt_at_a_fit_begins_with_an_empty_log(tmp_path: Path) -> None:
    cell = RunFolder(tmp_path).cell("c")
    seen: list[Event] = []
    for _ in range(2):
        workspace = FolderWorkspace(cell, "c", seen.append)
        workspace.log({"step": 1})
        workspace.log({"step": 2})
        workspace.progress(1, 2)
    assert [row for _, row in read_jsonl(cell.train_log)] == [{"step": 1}, {"step": 2}]
    assert seen == [Counted("fit c", 1, 2, part=True)] * 2


def test_a_cell_is_finished_once_its_header_stands_and_keeps_no_checkpoint(tmp_path: Path) -> None:
    cell = RunFolder(tmp_path).cell("c")
    FolderWorkspace(cell, "c", silent)
    (cell.checkpoint / "weights").write_text("x")
    assert not cell.finished()
    cell.finish({"cell": "c"})
    assert cell.finished()
    assert not cell.checkpoint.exists()
