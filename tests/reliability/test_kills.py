"""A run on the bundled model that is killed at any time goes on to the same bytes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from kills import kill_everywhere
from typer.testing import CliRunner

from evaluation.cli import app

KILLS = int(os.environ.get("RAVEL_KILLS", "4"))
"""How many processes are killed; a sound number is 50, which takes ten minutes."""


def small_suite(folder: Path) -> Path:
    """Build an instance of the bundled model and return the file of a suite of eight cells on it."""
    build = [
        *("build", "--model", "bundled", "--entity-type", "city", "--attribute", "Country"),
        *("--attribute", "Continent", "--max-entities", "60", "--max-new-tokens", "4"),
        *("--train-pairs", "80", "--evaluation-pairs", "40"),
        *("--out", str(folder / "instance")),
    ]
    built = CliRunner().invoke(app, build)
    assert built.exit_code == 0, built.output
    suite = {
        "instance": str(folder / "instance"),
        "methods": [{"name": "das", "config": {"epochs": 2, "validation_pairs": 16}}, "pca"],
        "sites": ["block_output.1@entity_last", "block_output.2@entity_last"],
        "sizes": [4],
        "seeds": [0],
        "generalisations": ["context"],
        "resamples": 20,
        "floors": False,
    }
    # JSON is YAML too.
    (folder / "suite.yaml").write_text(json.dumps(suite), encoding="utf-8")
    return folder / "suite.yaml"


@pytest.mark.slow
def test_a_killed_run_loses_no_cell_doubles_none_and_ends_in_the_same_bytes(tmp_path: Path) -> None:
    found = kill_everywhere(small_suite(tmp_path), tmp_path, kills=KILLS, kills_per_run=8)
    assert found.failures == []
    assert found.kills == KILLS
    assert found.equal_runs == found.runs > 0
    assert (found.cells_lost, found.cells_doubled) == (0, 0)
    assert found.cells == 8
