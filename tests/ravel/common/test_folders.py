"""New folders appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from ravel.common.errors import SuiteError
from ravel.common.folders import check_new_folder, new_folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("there_already", [False, True])
def test_the_folder_appears_when_the_block_ends(tmp_path: Path, there_already: bool) -> None:
    folder = tmp_path / "deep" / "folder"
    if there_already:
        folder.mkdir(parents=True)
    with new_folder(folder) as staging:
        (staging / "file").write_text("x")
        assert not there_already or names(folder) == []
    assert names(folder) == ["file"]
    assert names(folder.parent) == ["folder"]
    assert folder.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_stays_when_the_block_fails(tmp_path: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        with new_folder(tmp_path / "folder") as staging:
            (staging / "file").write_text("x")
            raise error

    with pytest.raises(error):
        fail()
    assert names(tmp_path) == []


def test_what_is_there_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for folder, came in (("used", "one with files in it"), ("file", "a file"), ("file/folder", "is a file")):
        with pytest.raises(SuiteError, match=came):
            check_new_folder(tmp_path / folder)
        with pytest.raises(SuiteError, match=came), new_folder(tmp_path / folder):
            pytest.fail("the block must not run")
    assert names(tmp_path) == ["file", "used"]
    assert (tmp_path / "used" / "mine").read_text() == "mine"


def test_the_check_writes_nothing(tmp_path: Path) -> None:
    check_new_folder(tmp_path / "a" / "b")
    assert names(tmp_path) == []
