"""The durability script: waits are clocked, and both sides do the same work."""

from __future__ import annotations

from pathlib import Path

import pytest
from durability import HastyDisk, TimedDisk, Work, measure, table, using
from toy_instance import built

from das.engine import DirectEngine
from das.models.base import TargetModel
from evaluation.config.suite import SuiteConfig
from ravel.common import durable
from ravel.common.io import write_text


def test_a_write_waits_for_its_file_and_its_folder(tmp_path: Path) -> None:
    disk = TimedDisk()
    with using(disk):
        write_text(tmp_path / "file", "x")
    assert disk.waits == 2
    assert disk.seconds > 0
    assert durable.DISK is not disk


def test_a_write_that_does_not_wait_writes_the_same(tmp_path: Path) -> None:
    with using(HastyDisk()):
        write_text(tmp_path / "file", "x")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file", "x")]


@pytest.mark.slow
def test_both_sides_are_measured(small_target: TargetModel) -> None:
    suite = {
        "instance": "in memory",
        "methods": ["pca"],
        "sites": ["block_output.1@entity_last"],
        "sizes": [2],
        "generalisations": ["context"],
    }
    config = SuiteConfig.from_mapping(suite, origin="a test")
    found = measure(Work(config, built(DirectEngine(small_target)), small_target), 1)
    assert found["waits"] > 100
    assert 0 < found["share_by_clock"] < 1
    assert "share, by clock" in table(found)
