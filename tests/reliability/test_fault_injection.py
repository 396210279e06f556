"""A crash, a power cut or a refusing disk at any step of a run costs time only; and the faults do bite."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults import HastyDisk, crash_everywhere, refuse_everywhere, using
from same_bytes import bytes_in
from tiny_run import TinyRun

from ravel.common import durable
from ravel.common.errors import SuiteError
from ravel.common.folders import new_folder
from ravel.common.io import append_text, sync_file, write_json, write_text

EVERY = os.environ.get("RAVEL_EVERY_FAULT") == "1"
"""Whether every fault of a run is tried, which takes most of an hour, or a sample."""


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished tiny run, to be copied."""
    return tmp_path_factory.mktemp("tiny") / "run"


@pytest.fixture(scope="module")
def tiny(first: Path) -> Iterator[TinyRun]:
    """A tiny run whose figures are drawn already, on a disk that is not waited for."""
    run = TinyRun()
    with using(HastyDisk()), pytest.MonkeyPatch.context() as patch:
        run.draw_once(patch, first)
        yield run


class TestWholeRuns:
    def test_no_crash_costs_a_cell_or_changes_a_byte(self, tiny: TinyRun, tmp_path: Path) -> None:
        found = crash_everywhere(tiny, tmp_path / "crashes", sample=None if EVERY else 10)
        assert found.failures == []
        assert found.injected == found.survived > 0
        assert (found.half_written, found.cells_lost, found.cells_doubled) == (0, 0, 0)

    def test_a_refusing_disk_is_one_paragraph_and_nothing_half_written(
        self, tiny: TinyRun, tmp_path: Path
    ) -> None:
        found = refuse_everywhere(tiny, tmp_path / "refusals", sample=None if EVERY else 6)
        assert found.failures == []
        assert found.injected == found.survived == found.refused > 0
        assert (found.half_written, found.cells_lost, found.cells_doubled) == (0, 0, 0)

    @pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
    def test_a_folder_without_permission_is_one_paragraph(self, tiny: TinyRun, tmp_path: Path) -> None:
        locked = tmp_path / "locked"
        locked.mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
        with pytest.raises(SuiteError, match="to be able to write"):
            tiny(locked / "run")
        assert list(locked.iterdir()) == []


def small_run(folder: Path) -> None:
    """Write as a run does: a config, an instance's folder, a cell with a log, and a result written anew."""
    durable.remove_parts(folder)
    write_text(folder / "config.yaml", "a: 1\n" * 50)
    if not (folder / "instance").exists():
        with new_folder(folder / "instance") as staging:
            write_json(staging / "manifest.json", {"a": list(range(50))})
            (staging / "foreign.bin").write_bytes(b"0123456789" * 20)
    cell = folder / "cells" / "one"
    if not (cell / "cell.json").is_file():
        write_text(cell / "train_log.jsonl", "")
        append_text(cell / "train_log.jsonl", '{"loss": 1}\n' * 10)
        sync_file(cell / "train_log.jsonl")
        write_json(cell / "cell.json", {"cell": "one"})
    write_text(folder / "scores.jsonl", '{"cause": 1}\n' * 30)


class TestSmallWrites:
    def test_every_crash_and_every_refusal_is_survived(self, tmp_path: Path) -> None:
        crashes = crash_everywhere(small_run, tmp_path / "crashes", sample=None if EVERY else 100)
        refusals = refuse_everywhere(small_run, tmp_path / "refusals", sample=None if EVERY else 60)
        assert [*crashes.failures, *refusals.failures] == []
        assert {
            "append",
            "create",
            "create_folder",
            "make_folder",
            "rename",
            "sync",
            "sync_folder",
            "write",
        } <= set(crashes.by_step)

    @pytest.mark.parametrize("forgotten", ["sync", "sync_folder"])
    def test_a_write_that_forgets_to_sync_is_found_out(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, forgotten: str
    ) -> None:
        def hasty(path: Path, write: Callable[[Path], object]) -> None:
            part = durable.DISK.create(path.parent, f".{path.name}.{durable.DISK.mark()}.")
            durable.DISK.fill(part, write)
            if forgotten != "sync":
                durable.DISK.sync(part)
            durable.DISK.rename(part, path)
            if forgotten != "sync_folder":
                durable.DISK.sync_folder(path.parent)

        monkeypatch.setattr(durable, "write_file", hasty)
        found = crash_everywhere(small_run, tmp_path, sample=100)
        assert found.survived < found.injected or found.half_written or found.cells_lost

    def test_a_write_in_place_is_found_out(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        def in_place(path: Path, write: Callable[[Path], object]) -> None:
            durable.DISK.fill(path, write)

        monkeypatch.setattr(durable, "write_file", in_place)
        assert crash_everywhere(small_run, tmp_path, sample=60).half_written > 0


class TestTornLines:
    """Half a line at the end of a file, as no kill leaves it here, but other software and disks do."""

    @pytest.fixture
    def whole(self, tiny: TinyRun, first: Path, tmp_path: Path) -> Path:
        """A finished run."""
        return Path(shutil.copytree(first, tmp_path / "run"))

    @staticmethod
    def tear(path: Path) -> None:
        """Cut the last line in half."""
        before = path.read_bytes()
        last = before.rstrip(b"\n").rfind(b"\n") + 1
        path.write_bytes(before[: (last + len(before)) // 2])

    @pytest.mark.parametrize(
        "pattern",
        [
            *("cells/*/outcomes/context_val.jsonl", "cells/*/outcomes/context_test.jsonl", "scores.jsonl"),
            *("averages.jsonl", "comparisons.jsonl", "balanced.jsonl", "values.jsonl"),
        ],
    )
    def test_what_follows_from_other_files_is_repaired(
        self, tiny: TinyRun, whole: Path, pattern: str
    ) -> None:
        before = bytes_in(whole)
        for path in whole.glob(pattern):
            self.tear(path)
        assert bytes_in(whole) != before
        headers = {path: path.stat().st_mtime_ns for path in whole.glob("cells/*/cell.json")}
        tiny(whole)
        assert bytes_in(whole) == before
        assert {path: path.stat().st_mtime_ns for path in headers} == headers

    @pytest.mark.parametrize("damage", [b"", b"\0" * 200, b'{"pair_id": 1}\n' * 40])
    def test_outcomes_that_are_no_outcomes_are_judged_again(
        self, tiny: TinyRun, whole: Path, damage: bytes
    ) -> None:
        before = bytes_in(whole)
        for path in whole.glob("cells/*/outcomes/*.jsonl"):
            path.write_bytes(damage)
        tiny(whole)
        assert bytes_in(whole) == before

    def test_the_log_of_a_finished_fit_is_refused_by_its_line(self, tiny: TinyRun, whole: Path) -> None:
        """Only a fit could repair it, and finished cells are not fitted again."""
        log = next(path for path in whole.glob("cells/*/train_log.jsonl") if path.stat().st_size)
        n_lines = len(log.read_bytes().splitlines())
        self.tear(log)
        with pytest.raises(SuiteError, match=f"line {n_lines} of .*train_log.jsonl"):
            tiny(whole)

    def test_a_torn_log_of_an_unfinished_fit_is_begun_again(self, tiny: TinyRun, whole: Path) -> None:
        before = bytes_in(whole)
        log = next(path for path in whole.glob("cells/*/train_log.jsonl") if path.stat().st_size)
        (log.parent / "cell.json").unlink()
        self.tear(log)
        tiny(whole)
        assert bytes_in(whole) == before


def test_what_a_killed_run_left_is_removed_and_what_others_write_stays(
    tiny: TinyRun, first: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(first, tmp_path / "run"))
    before = bytes_in(run)
    cell = next(run.glob("cells/*"))
    gone = f"{durable.process_mark().rsplit('-', 1)[0]}-1"
    (run / f".scores.jsonl.{gone}.abc.part").write_text("half")
    (cell / "outcomes" / f".context_val.jsonl.{gone}.abc.part").write_text("half")
    (run / f".instance.{gone}.abc.part").mkdir()
    (run / f".instance.{gone}.abc.part" / "manifest.json").write_text("half")
    (cell / "checkpoint").mkdir()
    (cell / "checkpoint" / "checkpoint.json").write_text(json.dumps({}))
    ours = run / f".scores.jsonl.{durable.process_mark()}.abc.part"
    ours.write_text("half")
    tiny(run)
    assert bytes_in(run) == {**before, ours.name: b"half"}
    assert not (cell / "checkpoint").exists()
