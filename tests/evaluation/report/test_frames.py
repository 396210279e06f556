"""A run as frames: every record is a row with its own values, and a notebook shows the main table."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from report_world import ATTRIBUTES, HOSTILE_METHOD, METHODS, SITE, SPLITS, make_run

from evaluation import api
from evaluation.report.frames import outcome_columns
from evaluation.report.tables import render
from ravel.common.io import write_json, write_text

CONFIG = {"instance": "x", "methods": list(METHODS[:2]), "sites": [SITE]}
POINT = {"site": SITE, "swapped": 16, "seed": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, each cell with its header; leave it unchanged."""
    run = make_run(tmp_path_factory.mktemp("frames") / "run")
    write_text(run / "config.yaml", json.dumps(CONFIG))
    for cell in sorted((run / "cells").iterdir()):
        method, attribute = METHODS[int(cell.name[-2])], ATTRIBUTES[int(cell.name[-1])]
        header = {"cell": cell.name, "method": method, "attribute": attribute, **POINT}
        write_json(cell / "cell.json", header)
    return run


@pytest.fixture
def run(folder: Path) -> api.Run:
    return api.Run.open(folder)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def row_of(record: dict[str, Any]) -> dict[str, Any]:
    """Return a line of a file as a row of a frame must be: an interval is two columns."""
    row: dict[str, Any] = {}
    for name, value in record.items():
        if name.endswith("_interval"):
            start = name.removesuffix("_interval")
            row[f"{start}_low"], row[f"{start}_high"] = value or (None, None)
        else:
            row[name] = tuple(value) if isinstance(value, list) else value
    return row


def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a frame's rows; what is missing is None."""
    return [
        {str(name): None if value is None or value != value else value for name, value in row.items()}
        for row in frame.to_dict("records")
    ]


@pytest.mark.parametrize("name", ["scores", "averages", "comparisons"])
def test_a_frame_has_each_line_of_its_file_with_all_its_values(name: str, run: api.Run, folder: Path) -> None:
    written = [row_of(record) for record in lines(folder / f"{name}.jsonl")]
    assert len(written) > 5
    assert rows(getattr(run, name)()) == written


def test_numbers_are_numbers(run: api.Run) -> None:
    for frame in (run.scores(), run.averages(), run.comparisons()):
        for column in ("disentangle", "disentangle_low", "disentangle_high"):
            assert frame[column].dtype.kind == "f"
    assert run.scores()["chosen"].dtype == bool


def test_outcomes_are_those_of_the_cells_with_the_point_beside_them(run: api.Run, folder: Path) -> None:
    found = run.outcomes()
    assert list(found.columns) == outcome_columns()
    expected = []
    for number, method in enumerate(METHODS):
        for a, attribute in enumerate(ATTRIBUTES):
            cell = f"{number}{a}".rjust(16, "0")
            for split in [f"{g}_{p}" for g, p in SPLITS]:
                for line in lines(folder / "cells" / cell / "outcomes" / f"{split}.jsonl"):
                    asked = line.pop("attribute")
                    point = {"site": SITE, "dim": 16, "seed": 3}
                    head = {"cell": cell, "method": method, "attribute": attribute, **point, "split": split}
                    expected.append({**head, "asked": asked, **line})
    by = ["cell", "split", "pair_id"]
    assert found.sort_values(by).to_dict("records") == sorted(expected, key=lambda r: [r[b] for b in by])


def test_outcomes_of_one_split(run: api.Run) -> None:
    everything, one = run.outcomes(), run.outcomes("context_test")
    kept = everything[everything["split"] == "context_test"].reset_index(drop=True)
    pd.testing.assert_frame_equal(one, kept)
    assert 0 < len(one) < len(everything)
    with pytest.raises(api.SuiteError, match="context_test"):
        run.outcomes("context_tset")


def test_a_run_without_averages_has_frames_without_rows(folder: Path, tmp_path: Path) -> None:
    for name in ("config.yaml", "scores.jsonl"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    bare, full = api.Run.open(tmp_path), api.Run.open(folder)
    for name in ("averages", "comparisons", "outcomes"):
        empty, whole = getattr(bare, name)(), getattr(full, name)()
        assert len(empty) == 0
        assert list(empty.columns) == list(whole.columns)


def test_the_config_is_the_runs(run: api.Run, folder: Path) -> None:
    assert run.folder == folder
    assert run.config == api.SuiteConfig.from_file(folder / "config.yaml")


class _Tags(HTMLParser):
    """The tags of a text."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)


def test_a_notebook_shows_the_main_table_and_runs_no_name(run: api.Run, folder: Path) -> None:
    shown = run._repr_html_()
    assert shown == render(api.table([folder]), "html")
    tags = _Tags()
    tags.feed(shown)
    assert "table" in tags.names
    assert not {"script", "img"} & tags.names
    assert HOSTILE_METHOD not in shown


@pytest.mark.parametrize("unfinished", [False, True])
def test_a_folder_without_a_finished_run_is_refused(unfinished: bool, folder: Path, tmp_path: Path) -> None:
    if unfinished:
        (tmp_path / "config.yaml").write_bytes((folder / "config.yaml").read_bytes())
    with pytest.raises(api.SuiteError):
        api.Run.open(str(tmp_path))
