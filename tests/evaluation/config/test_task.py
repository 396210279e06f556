"""Versioned tasks: what they fix is what there is, and another instance is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from cli_world import World, ravel

import evaluation.suite.task
from evaluation.config.task import Task, rules_sha256, task_named, task_names, task_of_instance
from evaluation.suite.task import check_fixed, make_task
from evaluation.tracks import TRACKS
from evaluation.verify.submission.manifest import read_submission
from evaluation.verify.submission.unpack import opened
from ravel.building.config import BuildConfig
from ravel.common.errors import SuiteError
from ravel.facts.sources import open_tables
from ravel.instance import Instance

ROOT = Path(__file__).parents[3]
sys.path.append(str(ROOT / "scripts"))

from new_task import of_instance, of_submission, task_values  # noqa: E402

BUILD = {"match": "reference", "max_new_tokens": 3, "train_pairs": 60, "evaluation_pairs": 24}


def task_in(world: World, **changes: Any) -> Task:
    """The task whose instance is the world's."""
    known: dict[str, Any] = {
        "summary": "small",
        "entity_type": "invented_person",
        "build": BUILD,
        "model": str(world.model),
        "facts_sha256": open_tables(str(world.data), "invented_person").fingerprint,
        "rules_sha256": "0" * 64,
        "instance_fingerprint": Instance.load(world.instance).fingerprint,
    }
    first = Task.from_mapping(known, origin="a test")
    return Task.from_mapping(
        {**known, "rules_sha256": rules_sha256(first.build_config()), **changes}, origin="a test"
    )


def use(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation.suite.task, "task_named", lambda name: task)


@pytest.mark.parametrize("name", task_names())
def test_facts_and_rules_are_those_that_the_task_states(name: str) -> None:
    task = task_named(name)
    if task.data == "bundled":
        check_fixed(name, task, task.data)
    assert task.rules_sha256 == rules_sha256(task.build_config())
    assert name.rpartition("-v")[2].isdigit()
    assert task.metric in [version.name for version in TRACKS.get(task.track).versions]
    assert task_of_instance(task.instance_fingerprint) == name


def test_an_unknown_task_is_refused_with_near_misses(tmp_path: Path) -> None:
    done = ravel("task", "city-lite-v0", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "did you mean 'city-lite-v1'" in done.output


def test_other_facts_and_other_rules_are_refused_before_a_model_is_loaded(world: World) -> None:
    for what, field in (("facts", "facts_sha256"), ("rules of a build", "rules_sha256")):
        with pytest.raises(SuiteError, match=f"the {what} of t-v1, 0000"):
            check_fixed("t-v1", task_in(world, model="nowhere", **{field: "0" * 64}), str(world.data))


def test_the_instance_is_built_again(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(task_in(world), monkeypatch)
    built = make_task("t-v1", tmp_path / "instance", data=str(world.data))
    assert built.fingerprint == Instance.load(world.instance).fingerprint
    files = sorted(p.relative_to(world.instance) for p in world.instance.rglob("*.jsonl"))
    assert all((tmp_path / "instance" / p).read_bytes() == (world.instance / p).read_bytes() for p in files)


def test_another_instance_than_the_task_states_is_not_kept(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(task_in(world, instance_fingerprint="0" * 64), monkeypatch)
    with pytest.raises(SuiteError, match=r"the instance of t-v1, 0{64}; got [0-9a-f]{64}"):
        make_task("t-v1", tmp_path / "instance", data=str(world.data))
    assert not (tmp_path / "instance").exists()


def test_facts_that_are_not_shipped_have_to_be_named(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="--data with the official release"):
        make_task("smollm2-city-v1", tmp_path / "instance")


def test_the_kept_results_enter_their_tasks() -> None:
    for path in sorted((ROOT / "results").glob("*.zip")):
        with opened(path) as folder:
            submission = read_submission(folder)
        name = task_of_instance(submission.instance_fingerprint)
        assert name is not None, path.name
        task = task_named(name)
        assert (task.entity_type, task.model) == (submission.entity_type, submission.model_name)
        assert task.judging() == submission.judging
        assert BuildConfig.from_mapping(dict(submission.build), origin=path.name) == task.build_config()


def test_a_task_is_made_of_an_instance_that_was_built(world: World) -> None:
    made = task_values(of_instance(world.instance), "small", "bundled", str(world.data))
    assert {name: made["build"][name] for name in BUILD} == BUILD
    assert Task.from_mapping(made, origin="a test") == task_in(world, build=made["build"])


def test_a_task_is_made_of_a_kept_submission() -> None:
    built = of_submission(ROOT / "results" / "smollm2-135m-nobel.zip")
    task = task_named("smollm2-nobel-v1")
    assert (built.build, built.fingerprint) == (task.build_config(), task.instance_fingerprint)


@pytest.mark.long
def test_the_lite_task_is_built_to_the_byte_from_what_is_bundled(tmp_path: Path) -> None:
    make_task("city-lite-v1", tmp_path / "instance")
