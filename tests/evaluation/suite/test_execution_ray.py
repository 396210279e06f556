"""A real Ray cluster of two nodes on this machine: the bytes of serial, a worker killed, a node lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_world import World
from execution_world import carried_out, results, suite

from evaluation.config.target import TargetConfig
from evaluation.suite.run import RunRequest, RunSummary, run_suite
from ravel.common.progress import Counted, Event, Note

ray = pytest.importorskip("ray", reason="NO RAY: the tests of the cluster are SKIPPED")
cluster_utils = pytest.importorskip("ray.cluster_utils")
pytestmark = pytest.mark.slow


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head node with room for one task; tests add the second node."""
    found = cluster_utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    try:
        # Now, while there is no other: the process that asks for the work must be of the node that stays.
        found.connect()
        yield found
    finally:
        ray.shutdown()
        found.shutdown()


def on(cluster: Any, retries: int = 2) -> dict[str, object]:
    return {"kind": "ray", "threads": 1, "retries": retries, "address": cluster.address}


def test_a_cluster_of_two_nodes_gives_the_bytes_of_serial_though_a_worker_is_killed(
    world: World, serial: RunSummary, tmp_path: Path, cluster: Any
) -> None:
    cluster.add_node(num_cpus=1)
    killed: list[int] = []
    said: list[Event] = []

    def progress(event: Event) -> None:
        said.append(event)
        if isinstance(event, Counted) and event.stage.startswith("fit mdas") and not killed:
            killed.extend(worker_processes()[:1])
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    config = suite(world, execution=on(cluster))
    target = TargetConfig(model=config.model)
    found = run_suite(RunRequest(config, tmp_path / "run", target), progress)
    assert killed
    assert tried_again(said)
    assert not found.failures
    assert results(tmp_path / "run") == results(serial.folder)


@pytest.mark.long
def test_a_node_that_is_removed_loses_nothing(world: World, tmp_path: Path, cluster: Any) -> None:
    """Two fits, one on each node, so long that the second worker is ready before the first fit has ended."""
    changes: dict[str, object] = {
        "methods": [{"name": "mdas", "config": {"epochs": 150, "validation_pairs": 0}}],
        "floors": False,
    }
    serial = carried_out(suite(world, **changes), tmp_path / "serial")
    second = cluster.add_node(num_cpus=1)
    removed: list[bool] = []
    said: list[Event] = []

    def progress(event: Event) -> None:
        said.append(event)
        fitting = isinstance(event, Counted) and event.stage.startswith("fit")
        # A node has room for one task: with two at work the second node is at one of them.
        if fitting and not removed and len(worker_processes()) == 2:
            removed.append(True)
            cluster.remove_node(second, allow_graceful=False)

    config = suite(world, execution=on(cluster), **changes)
    target = TargetConfig(model=config.model)
    found = run_suite(RunRequest(config, tmp_path / "run", target), progress)
    assert removed
    assert tried_again(said)
    assert not found.failures
    assert results(tmp_path / "run") == results(serial.folder)


def tried_again(said: list[Event]) -> bool:
    """Whether a job came to nothing for its worker was gone, and was given to another."""
    return any(isinstance(event, Note) and event.text.endswith("It is tried again.") for event in said)


def worker_processes() -> list[int]:
    """The processes that are inside one of our tasks, by the name that Ray gives them."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")[0]
            except OSError:
                continue
            if command.startswith(b"ray::_do"):
                found.append(int(entry.name))
    return found
