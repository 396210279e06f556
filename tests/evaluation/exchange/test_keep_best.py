"""Rejection sampling from a file: what is kept, by hand, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_world import ravel

ROWS: list[dict[str, Any]] = [
    {"prompt": "a", "completion": "a1", "scores": {"task": 0.2, "faith": 0.9}},
    {"prompt": "b", "completion": "b1", "scores": {"task": 0.5, "faith": 0.5}},
    {"prompt": "a", "completion": "a2", "scores": {"task": 0.9, "faith": 0.1}},
    {"prompt": "a", "completion": "a3", "scores": {"task": 0.9, "faith": 0.1}},
    {"prompt": {"turns": 2}, "completion": "c1", "scores": {"task": 0, "faith": 3}},
]


def _written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _kept(tmp_path: Path, *words: object) -> list[tuple[str, float]]:
    file, out = _written(tmp_path / "drawn.jsonl", ROWS), tmp_path / "kept.jsonl"
    done = ravel("keep-best", file, "--out", out, *words)
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    return [(row["completion"], pytest.approx(row["weighted_score"])) for row in rows]


def test_by_hand(tmp_path: Path) -> None:
    assert _kept(tmp_path) == [("a1", 1.1), ("b1", 1.0), ("c1", 3.0)]
    assert _kept(tmp_path, "--weight", "task=1") == [("a2", 0.9), ("b1", 0.5), ("c1", 0.0)]
    assert _kept(tmp_path, "--threshold", 1.05) == [("a1", 1.1), ("c1", 3.0)]
    assert _kept(tmp_path, "-s") == [("c1", 3.0)]
    assert _kept(tmp_path, "--weight", "task=2", "--weight", "faith=-1")[0] == ("a2", 1.7)


def test_the_summary(tmp_path: Path) -> None:
    file = _written(tmp_path / "drawn.jsonl", ROWS)
    done = ravel("keep-best", file, "--out", tmp_path / "kept.jsonl", "--json")
    found = json.loads(done.stdout)
    assert (found["n_candidates"], found["n_examples"], found["n_kept"]) == (5, 3, 3)
    assert found["mean_score"] == pytest.approx(7.1 / 5)
    assert found["mean_kept"] == pytest.approx(5.1 / 3)


@pytest.mark.parametrize(
    ("rows", "words", "says"),
    [
        ([{"prompt": "a", "completion": "x"}], (), "numbers by name in the field scores"),
        ([{"prompt": "a", "scores": {"task": True}}], (), "numbers by name"),
        ([{"prompt": "a", "scores": {}}], (), "numbers by name"),
        ([{"text": "a", "scores": {"task": 1}}], (), "the field prompt"),
        (ROWS, ("--weight", "style=1"), "the score style"),
        (ROWS, ("--weight", "task"), "SCORE=NUMBER"),
        (ROWS, ("--threshold", 9), "the highest is 3"),
        ([], (), "an empty file"),
    ],
)
def test_mistakes_are_one_paragraph_and_write_nothing(
    rows: list[dict[str, Any]], words: tuple[object, ...], says: str, tmp_path: Path
) -> None:
    file, out = _written(tmp_path / "drawn.jsonl", rows), tmp_path / "kept.jsonl"
    done = ravel("keep-best", file, "--out", out, *words)
    assert done.exit_code == 2
    assert says in " ".join(done.stderr.split())
    assert not out.exists()
