"""A run that is killed at any time goes on to the same bytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cli_world import make_world, suite_text
from kills import kill_everywhere

KILLS = int(os.environ.get("RAVEL_KILLS", "2"))
"""How many processes are killed; a sound number is 50, which takes some minutes."""


def small_suite(folder: Path) -> Path:
    """Write a miniature model and a suite of four cells on an instance that it builds; return the suite."""
    world = make_world(folder / "world")
    settings = {"match": "reference", "max_new_tokens": 3, "train_pairs": 60, "evaluation_pairs": 24}
    build = {"entity_type": "invented_person", "data": str(world.data), "settings": settings}
    methods = [{"name": "das", "config": {"epochs": 2, "batch_size": 16, "validation_pairs": 8}}, "pca"]
    changes = {"methods": methods, "generalisations": ["context"], "floors": False}
    changes |= {"instance": "", "build": build}
    suite = folder / "suite.yaml"
    suite.write_text(suite_text(world, **changes), encoding="utf-8")
    return suite


@pytest.mark.slow
def test_a_killed_run_loses_no_cell_doubles_none_and_ends_in_the_same_bytes(tmp_path: Path) -> None:
    found = kill_everywhere(small_suite(tmp_path), tmp_path, kills=KILLS, kills_per_run=8)
    assert found.failures == []
    assert found.kills == KILLS
    assert found.equal_runs == found.runs > 0
    assert (found.cells_lost, found.cells_doubled) == (0, 0)
    assert found.cells == 4
