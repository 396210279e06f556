"""What may not change a score: running again, the order of the cells, fits side by side, the engine, the
number of threads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from memory_world import short_of_memory, too_large
from toy_instance import built

from das.engine import DirectEngine, make_engine
from das.models import TargetModel
from das.threads import using_threads
from evaluation.config.suite import SuiteConfig
from evaluation.records.scores import ScoreRecord
from evaluation.suite.run import RunRequest, RunSummary, run_suite
from ravel.common.progress import Event, Note, Progress, silent
from ravel.instance import Instance

METHODS = ["mean_difference", "das", "mdas", "dbm"]
QUICK = {"epochs": 1, "batch_size": 16, "learning_rate": 0.02, "cause_pairs": 24, "validation_pairs": 12}
TRAINED = {"das", "mdas", "dbm"}


@pytest.fixture(scope="module")
def instance(target_of: Callable[[str], TargetModel]) -> Instance:
    return built(DirectEngine(target_of("qwen2")))


def ran(
    folder: Path,
    instance: Instance,
    target: TargetModel,
    *,
    progress: Progress = silent,
    **changes: Any,
) -> RunSummary:
    methods = [{"name": name, "config": QUICK if name in TRAINED else {}} for name in METHODS]
    settings = {
        "instance": "-",
        "methods": methods,
        "sites": ["block_output.1@entity_last"],
        "sizes": [4],
        "generalisations": ["context"],
        "resamples": 50,
        "engine": "resume",
        "fit_together": 8,
        **changes,
    }
    config = SuiteConfig.from_mapping(settings, origin="a test")
    return run_suite(
        RunRequest(config, folder, engine=make_engine(config.engine, target), instance=instance), progress
    )


@pytest.fixture(scope="module")
def once(
    instance: Instance, target_of: Callable[[str], TargetModel], tmp_path_factory: pytest.TempPathFactory
) -> RunSummary:
    return ran(tmp_path_factory.mktemp("once") / "run", instance, target_of("qwen2"))


def hashes(summary: RunSummary) -> dict[str, str]:
    """SHA-256 of every file of results by its path; cells lie under an id that names their settings."""
    names = (
        "scores.jsonl",
        "averages.jsonl",
        "comparisons.jsonl",
        "cells/*/outcomes/*",
        "cells/*/*.safetensors",
    )
    return {
        str(path.relative_to(summary.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for name in names
        for path in sorted(summary.folder.glob(name))
    }


def scored(summary: RunSummary) -> str:
    """One hash of all scores, whatever the order of their lines."""
    lines = sorted(json.dumps(record.to_json(), sort_keys=True) for record in summary.scores)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def numbers(summary: RunSummary) -> dict[tuple[str, ...], tuple[float | None, float | None]]:
    def key(record: ScoreRecord) -> tuple[str, ...]:
        return (record.cell, record.attribute, record.generalisation, record.partition, record.source_kind)

    return {key(record): (record.value("cause"), record.value("isolate")) for record in summary.scores}


@pytest.mark.slow
def test_running_again_gives_the_same_bytes(
    once: RunSummary, instance: Instance, small_target: TargetModel, tmp_path: Path
) -> None:
    torch.manual_seed(77)
    again = ran(tmp_path / "run", instance, small_target)
    found = hashes(again)
    assert len(found) > 20
    assert found == hashes(once)


@pytest.mark.slow
def test_fits_alone_give_the_bytes_of_fits_side_by_side(
    once: RunSummary, instance: Instance, small_target: TargetModel, tmp_path: Path
) -> None:
    found = ran(tmp_path / "run", instance, small_target, fit_together=1)
    assert hashes(found) == hashes(once)


@pytest.mark.slow
def test_the_order_of_cells_changes_no_score(
    once: RunSummary, instance: Instance, small_target: TargetModel, tmp_path: Path
) -> None:
    methods = [{"name": name, "config": QUICK if name in TRAINED else {}} for name in reversed(METHODS)]
    attributes = tuple(reversed(instance.attributes))
    found = ran(tmp_path / "run", instance, small_target, methods=methods, attributes=attributes)
    assert scored(found) == scored(once)
    cells = {name: digest for name, digest in hashes(once).items() if name.startswith("cells")}
    assert {name: digest for name, digest in hashes(found).items() if name.startswith("cells")} == cells


@pytest.mark.slow
def test_the_engine_changes_no_score(
    once: RunSummary, instance: Instance, small_target: TargetModel, tmp_path: Path
) -> None:
    """Logits differ by float rounding; which token is the likeliest does not, but in a tie."""
    found = ran(tmp_path / "run", instance, small_target, engine="direct")
    assert numbers(found) == numbers(once)


@pytest.mark.slow
def test_two_threads_change_no_score(
    once: RunSummary, instance: Instance, small_target: TargetModel, tmp_path: Path
) -> None:
    with using_threads(2):
        found = ran(tmp_path / "run", instance, small_target)
    assert numbers(found) == numbers(once)


@pytest.mark.slow
def test_a_run_short_of_memory_gives_the_same_bytes_and_says_so(
    once: RunSummary, instance: Instance, small_target: TargetModel, tmp_path: Path
) -> None:
    notes: list[str] = []

    def progress(event: Event) -> None:
        if isinstance(event, Note) and "out of memory" in event.text:
            notes.append(event.text)

    with short_of_memory(small_target, too_large) as failed:
        found = ran(tmp_path / "run", instance, small_target, progress=progress)
    assert failed
    assert notes
    assert hashes(found) == hashes(once)
