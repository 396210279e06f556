"""The demo: a run like any other, finished where it was stopped; with the bundled model its claim holds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cli_world import ATTRIBUTES, FAST, SITE, World, ravel
from demo_expectations import METHODS, check_demo
from same_bytes import bytes_in

import evaluation.suite.demo
from das.engine.base.protocol import Engine
from evaluation.config.target import TargetConfig
from evaluation.records.scores import read_scores
from evaluation.suite.demo import DEMO, QUICK, DemoPlan, run_demo_on
from evaluation.suite.run import RunSummary
from ravel.building import BuildConfig
from ravel.common.errors import SuiteError
from ravel.common.progress import Counted, Event
from ravel.facts.sources import open_tables
from ravel.facts.tables import Tables, read_bundled

TINY = DemoPlan(
    build=BuildConfig(match="reference", max_new_tokens=3, train_pairs=40, evaluation_pairs=24),
    site=SITE,
    size=4,
    training={"mdas": FAST, "das": FAST},
)


@pytest.fixture(scope="module")
def tables(world: World) -> Tables:
    return open_tables(str(world.data), "invented_person")


@pytest.fixture(scope="module")
def engine(world: World) -> Engine:
    return TargetConfig(model=str(world.model)).open()


@pytest.fixture(scope="module")
def finished(tables: Tables, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> RunSummary:
    """One uninterrupted demo, which the tests leave as it is."""
    return run_demo_on(tmp_path_factory.mktemp("demos") / "demo", TINY, tables, engine)


def test_a_demo_is_a_run_of_five_methods_on_two_splits(finished: RunSummary) -> None:
    scores = read_scores(finished.folder / "scores.jsonl")
    assert {score.method for score in scores} == METHODS
    assert {score.attribute for score in scores} == set(ATTRIBUTES)
    assert {score.generalisation for score in scores} == {"context", "entity"}
    assert {score.partition for score in scores if score.chosen} == {"val", "test"}
    assert tuple(scores) == finished.scores
    assert ravel("verify", finished.folder).exit_code == 0


def test_a_finished_demo_is_read_again(
    tables: Tables, engine: Engine, finished: RunSummary, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bytes_in(finished.folder)

    def fail(*args: object) -> None:
        raise AssertionError("built or fitted again")

    monkeypatch.setattr("evaluation.suite.execution.build_in_run.build_instance", fail)
    monkeypatch.setattr("evaluation.suite.cells.fit.save_featurizer", fail)
    assert run_demo_on(finished.folder, TINY, tables, engine) == finished
    assert bytes_in(finished.folder) == before


def test_a_demo_stopped_while_fitting_is_finished(
    tables: Tables, engine: Engine, finished: RunSummary, tmp_path: Path
) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, Counted) and event.stage == "cells" and event.done >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_demo_on(tmp_path / "demo", TINY, tables, engine, progress=stop)
    assert run_demo_on(tmp_path / "demo", TINY, tables, engine).scores == finished.scores


def test_a_demo_of_another_kind_or_foreign_files_are_refused(
    tables: Tables, engine: Engine, finished: RunSummary, tmp_path: Path
) -> None:
    before = bytes_in(finished.folder)
    other = DemoPlan(TINY.build.model_copy(update={"seed": 1}), TINY.site, TINY.size, TINY.training)
    with pytest.raises(SuiteError, match="one whose instance was built with other settings"):
        run_demo_on(finished.folder, other, tables, engine)
    assert bytes_in(finished.folder) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(SuiteError, match=r"a folder without a run's config\.yaml"):
        run_demo_on(tmp_path / "mine", TINY, tables, engine)
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_the_command_prints_tables_and_where_everything_is(
    tables: Tables, world: World, finished: RunSummary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a demo that has its cells: the tables are made again, and nothing is fitted."""
    shutil.copytree(finished.folder, tmp_path / "demo")
    (tmp_path / "demo" / "scores.jsonl").unlink()
    monkeypatch.setattr(evaluation.suite.demo, "QUICK", TINY)
    monkeypatch.setattr(evaluation.suite.demo, "read_bundled", lambda name: tables)
    monkeypatch.setattr(evaluation.suite.demo, "TargetConfig", lambda: TargetConfig(model=str(world.model)))
    shown = ravel("demo", "--quick", "--out", tmp_path / "demo")
    assert shown.exit_code == 0, shown.output
    for word in (*METHODS, *ATTRIBUTES, "scores.jsonl", "tables", "plots", str(tmp_path / "demo")):
        assert word in shown.stdout
    again = json.loads(ravel("demo", "--quick", "--out", tmp_path / "demo", "--json").stdout)
    assert again["out"] == str(tmp_path / "demo")
    assert ravel("demo", "--quick", "--out", tmp_path / "demo").stdout == shown.stdout


def test_both_plans_fit_the_bundled_facts() -> None:
    attributes = read_bundled("city").attributes()
    assert len(attributes) == 6
    assert DEMO.build.attributes is None
    assert set(QUICK.build.attributes or ()) < set(attributes)
    for plan in (DEMO, QUICK):
        assert set(plan.training) == {"mdas", "das"}


@pytest.mark.slow
@pytest.mark.long
def test_the_bundled_demo_shows_what_it_claims(tmp_path: Path) -> None:
    done = ravel("demo", "--out", tmp_path / "demo")
    assert done.exit_code == 0, done.output
    check_demo(tmp_path / "demo", attributes=6)
