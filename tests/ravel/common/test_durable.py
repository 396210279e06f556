"""The order of the steps of a write, and whose unfinished files are removed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ravel.common import durable
from ravel.common.durable import Disk, process_mark, remove_parts
from ravel.common.errors import SuiteError
from ravel.common.folders import new_folder
from ravel.common.io import make_folder, write_text, write_with


class Watched(Disk):
    """Notes its steps."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, str]] = []

    def make_folder(self, folder: Path) -> None:
        """Note it."""
        self.steps.append(("make", folder.name))
        super().make_folder(folder)

    def fill(self, part: Path, write: Callable[[Path], object]) -> None:
        """Note it."""
        self.steps.append(("fill", part.suffix))
        super().fill(part, write)

    def sync(self, path: Path) -> None:
        """Note it."""
        self.steps.append(("sync", path.suffix))
        super().sync(path)

    def rename(self, source: Path, target: Path) -> None:
        """Note it."""
        self.steps.append(("rename", target.name))
        super().rename(source, target)

    def sync_folder(self, folder: Path) -> None:
        """Note it."""
        self.steps.append(("sync folder", folder.name))
        super().sync_folder(folder)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """The disk of all writes."""
    watched = Watched()
    monkeypatch.setattr(durable, "DISK", watched)
    return watched


def test_content_is_on_the_disk_before_its_name_and_the_name_before_the_call_returns(
    disk: Watched, tmp_path: Path
) -> None:
    write_text(tmp_path / "file", "x")
    assert disk.steps == [
        ("fill", ".part"),
        ("sync", ".part"),
        ("rename", "file"),
        ("sync folder", tmp_path.name),
    ]


def test_each_new_folder_is_on_the_disk_before_what_lies_in_it(disk: Watched, tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert disk.steps == [("make", "a"), ("sync folder", tmp_path.name), ("make", "b"), ("sync folder", "a")]


def test_a_folder_is_moved_when_all_in_it_is_on_the_disk(disk: Watched, tmp_path: Path) -> None:
    with new_folder(tmp_path / "new") as staging:
        (staging / "inner").mkdir()
        (staging / "inner" / "foreign.bin").write_bytes(b"x")
    names = [name for name, _ in disk.steps]
    assert ("sync", ".bin") in disk.steps
    assert names[-2:] == ["rename", "sync folder"]
    assert names.index("sync") < names.index("sync folder") < names.index("rename")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_writer_that_fails_leaves_the_old_content_alone(tmp_path: Path, error: type[BaseException]) -> None:
    write_text(tmp_path / "file", "old")

    def fail(part: Path) -> None:
        part.write_text("half")
        raise error

    with pytest.raises(error):
        write_with(tmp_path / "file", fail)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file", "old")]


def test_a_folder_in_place_of_the_file_is_one_paragraph(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(SuiteError, match="to be able to write"):
        write_text(tmp_path / "file", "x")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


class TestUnfinishedFiles:
    def test_those_of_a_killed_process_go_and_those_of_a_running_one_stay(self, tmp_path: Path) -> None:
        code = (
            "import sys, time; from pathlib import Path; from ravel.common.io import write_with\n"
            "def wait(part):\n    print('begun', flush=True)\n    time.sleep(60)\n"
            "write_with(Path(sys.argv[1]), wait)\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "file")], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        assert remove_parts(tmp_path) == []
        (part,) = tmp_path.iterdir()
        process.kill()
        process.wait()
        assert remove_parts(tmp_path) == [part]
        assert list(tmp_path.iterdir()) == []

    def test_a_number_that_came_again_is_another_process(self, tmp_path: Path) -> None:
        """In containers every start may have the same number."""
        host, pid, start = process_mark().split("-")
        parts = [tmp_path / f".file.{host}-{pid}-{when}.abc.part" for when in (start, int(start) + 1)]
        for part in parts:
            part.write_text("half")
        assert remove_parts(tmp_path) == parts[1:]

    @pytest.mark.parametrize("mark", ["00000000-1-1.abc", "xyz"])
    def test_those_of_other_machines_and_names_stay_for_a_day(self, tmp_path: Path, mark: str) -> None:
        part = tmp_path / f".file.{mark}.part"
        part.write_text("half")
        assert remove_parts(tmp_path) == []
        yesterday = time.time() - 90_000
        os.utime(part, (yesterday, yesterday))
        assert remove_parts(tmp_path) == [part]

    def test_nothing_else_goes(self, tmp_path: Path) -> None:
        gone = f"{process_mark().rsplit('-', 1)[0]}-1"
        for name in ("mine.part", f"file.{gone}.abc.part", f".file.{gone}.abc", ".hidden"):
            (tmp_path / name).write_text("mine")
            os.utime(tmp_path / name, (0, 0))
        assert remove_parts(tmp_path) == []

    def test_a_new_folder_removes_only_what_was_to_become_it(self, tmp_path: Path) -> None:
        gone = f"{process_mark().rsplit('-', 1)[0]}-1"
        for name in ("one", "other"):
            (tmp_path / f".{name}.{gone}.abc.part").mkdir()
        with new_folder(tmp_path / "one"):
            pass
        assert sorted(p.name for p in tmp_path.iterdir()) == [f".other.{gone}.abc.part", "one"]
