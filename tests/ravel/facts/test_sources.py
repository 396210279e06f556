"""One word names where tables come from; the same facts come from every place."""

from __future__ import annotations

from pathlib import Path

import pytest

from ravel.common.errors import SuiteError
from ravel.facts.release import write_release
from ravel.facts.sources import BUNDLED, open_tables
from ravel.facts.tables import read_bundled, write_tables


def test_bundled_tables_a_folder_and_a_release_are_told_apart(tmp_path: Path) -> None:
    bundled = read_bundled("city")
    write_tables(bundled, tmp_path / "ours")
    write_release(bundled, tmp_path / "release")
    assert open_tables(BUNDLED, "city") == bundled
    assert open_tables(str(tmp_path / "ours"), "city") == bundled
    release = open_tables(str(tmp_path / "release"), "city")
    assert release.entities == bundled.entities
    assert set(release.templates) == set(bundled.templates)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="did you mean 'city'"):
        open_tables(BUNDLED, "cty")
    with pytest.raises(SuiteError, match="where nothing is"):
        open_tables(str(tmp_path / "none"), "city")
