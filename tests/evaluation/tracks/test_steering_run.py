"""Runs of the track steering, from suite to submission; the shared machinery knows no edit."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_world import SITE, World, ravel, suite_text
from execution_world import results
from track_runs import carried_out, check_submission

from das.engine import DirectEngine, make_engine
from das.featurizers import Subspace
from das.models.load import load_target
from das.sites import Site
from evaluation import api
from evaluation.config.judging import Judging
from evaluation.records.outcomes.steerings import Steering
from evaluation.records.scores import ScoreRecord, read_refusals, read_scores
from evaluation.scoring.steering.cases import steered_cases
from evaluation.tracks import TRACKS
from evaluation.verify.folders import verify_artefact
from ravel.instance import Instance

METHODS = ("diff_mean", "lda", "full_vector")
SUITE: dict[str, object] = {
    "methods": [*METHODS, {"name": "loreft", "config": {"steps": 20, "rank": 2}}],
    "sites": [SITE],
    "sizes": [2],
    "track": {"name": "steering", "config": {"strengths": [1, 2]}},
}
MEASURES = ("cause", "isolate", "fluency", "overall")


@pytest.fixture(scope="module")
def run(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; leave it unchanged."""
    folder = tmp_path_factory.mktemp("steering") / "run"
    carried_out(world, folder, SUITE)
    return folder


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """A run that a test may change."""
    return shutil.copytree(run, tmp_path / "run")


def chosen(run: Path, method: str, partition: str = "test") -> list[ScoreRecord]:
    """The scores of a method's chosen cells."""
    return [
        record
        for record in read_scores(run / "scores.jsonl")
        if (record.method, record.partition, record.chosen) == (method, partition, True)
    ]


def outcomes(run: Path, method: str, split: str) -> list[Steering]:
    (cell, *_) = {record.cell for record in chosen(run, method)}
    return Steering.read(run / "cells" / cell / "outcomes" / f"{split}.jsonl")


def test_changing_nothing_has_no_cause_and_keeps_everything(run: Path) -> None:
    found = chosen(run, "no_op")
    assert found
    for record in found:
        assert [record.value(name) for name in MEASURES] == [0.0, 1.0, 1.0, 0.0]
        for name in MEASURES:
            low, high = record.interval(name) or (0.0, 0.0)
            assert low < high


def test_rows_are_those_of_the_suite_and_its_references(run: Path) -> None:
    names = {record.method for record in read_scores(run / "scores.jsonl")}
    assert names == {*METHODS, "loreft", "no_op", "real_entity", "random_direction"}
    refused = {r.method for r in read_refusals(run / "refusals.jsonl") if r.attribute == "Profession"}
    assert refused >= {"diff_mean", "loreft", "real_entity", "random_direction"}


def test_validation_cases_are_tried_at_every_strength_and_test_cases_at_the_chosen(run: Path) -> None:
    validated = outcomes(run, "diff_mean", "entity_val")
    assert {outcome.strengths for outcome in validated} == {(1.0, 2.0)}
    best = {outcome.value: outcome.strengths[outcome.chosen] for outcome in validated}
    for outcome in outcomes(run, "diff_mean", "entity_test"):
        assert len(outcome.strengths) == 1
        if outcome.value in best:
            assert outcome.strengths == (best[outcome.value],)


def test_cases_give_values_that_the_base_has_not(world: World) -> None:
    instance = Instance.load(world.instance)
    assert steered_cases(instance, "train")
    for split in instance.splits():
        pairs = {pair.pair_id: pair for pair in instance.pairs(split)}
        cases = steered_cases(instance, split)
        assert len({case.case for case in cases}) == len(cases)
        for case in cases:
            pair = pairs[case.case.partition(">")[0]]
            if case.attribute == case.target:
                assert pair.if_swapped.strip() == case.value != pair.if_unchanged.strip()


def test_without_anything_found_the_model_says_what_it_says(world: World) -> None:
    instance = Instance.load(world.instance)
    engine = DirectEngine(load_target(str(world.model)))
    judge = TRACKS.get("steering").judge(engine, Judging(settings={"strengths": [1]}))
    site = Site.parse(SITE)
    plain = judge.judge(instance, "entity_val", site, None)
    width = engine.target.width(site)
    assert plain == judge.judge(instance, "entity_val", site, Subspace(torch.zeros(width, 0)))
    assert {outcome.said_unchanged for outcome in plain} == {(True,)}
    assert {outcome.extra_nats for outcome in plain} == {(0.0,)}
    # The whole vector replaced by a mean is another thing.
    swapped = judge.judge(instance, "entity_val", site, Subspace(torch.eye(width)))
    assert swapped != plain
    assert all(min(outcome.extra_nats) > -50 for outcome in swapped)


def test_tables_and_page_speak_of_steering(run: Path) -> None:
    markdown = (run / "tables" / "main.md").read_text()
    assert markdown.startswith("### Steering on invented\\_person with ")
    rows = list(csv.DictReader((run / "tables" / "main.csv").read_text().splitlines()))
    assert {row["score"] for row in rows} >= set(MEASURES)
    assert "How can an entity be given a value, and nothing else?" in (run / "report.html").read_text()


def test_what_is_damaged_or_gone_is_done_again_to_the_same_bytes(world: World, run: Path, copy: Path) -> None:
    for cell in sorted((copy / "cells").iterdir())[:3]:
        shutil.rmtree(cell)
    (copy / "scores.jsonl").unlink()
    carried_out(world, copy, SUITE)
    assert results(copy) == results(run)


def test_a_run_is_sound_and_changes_are_found(run: Path, copy: Path) -> None:
    assert verify_artefact(run).problems == ()
    path = next(p for p in sorted(copy.glob("cells/*/outcomes/*_test.jsonl")) if p.stat().st_size)
    rows: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]
    for change in ({"value": "elsewhere"}, {"target": "Profession"}, {"chosen": 3}, {"strengths": []}):
        path.write_text("".join(json.dumps(row) + "\n" for row in ({**rows[0], **change}, *rows[1:])))
        assert verify_artefact(copy).problems


def test_a_submission_is_borne_out_by_the_model(run: Path, world: World, tmp_path: Path) -> None:
    check_submission(run, tmp_path / "submission", world)


def test_an_edit_has_a_card(run: Path) -> None:
    card = ravel("card", run / "cells" / chosen(run, "loreft")[0].cell)
    assert (card.exit_code, "An edit: a change of the vector towards each of 2 values" in card.stdout) == (
        0,
        True,
    )


@pytest.mark.parametrize(
    ("config", "engine", "said"),
    [
        ({"positions": "f2+l2"}, "reference", "changes at the site's position alone"),
        ({"attack": "named", "chat": True}, "resume", "a tokenizer with a chat template"),
    ],
)
def test_what_the_model_or_the_engine_can_t_is_refused_and_leaves_no_folder(
    config: dict[str, object], engine: str, said: str, world: World, tmp_path: Path
) -> None:
    suite = tmp_path / "suite.yaml"
    track = {"name": "erasure", "config": config}
    suite.write_text(suite_text(world, **{**SUITE, "track": track, "engine": engine}))
    done = ravel("run", suite, "--out", tmp_path / "run")
    assert (done.exit_code, done.stderr.count("Expected")) == (2, 1)
    assert said in " ".join(done.stderr.split())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("track", ["steering", "erasure"])
@pytest.mark.parametrize("kind", ["direct", "resume"])
def test_the_last_token_alone_is_what_a_site_there_says(track: str, kind: str, world: World) -> None:
    instance, site = Instance.load(world.instance), Site(1, position="prompt_last")
    engine = make_engine(kind, load_target(str(world.model)))
    finding = Subspace(torch.eye(engine.target.width(site))[:, :8].contiguous())
    found = {
        positions: TRACKS.get(track)
        .judge(engine, Judging(settings={"strengths": [1, 40], "positions": positions}))
        .judge(instance, "entity_val", site, finding)
        for positions in ("site", "l1", "all")
    }
    assert found["l1"] == found["site"] != found["all"]


def test_positions_come_back_from_a_file_and_reach_the_outcomes(world: World, tmp_path: Path) -> None:
    track = {"name": "steering", "config": {"strengths": [1], "positions": "f2+l2", "generated": True}}
    carried_out(world, tmp_path / "run", SUITE | {"track": track, "methods": ["diff_mean"]})
    suite = api.SuiteConfig.from_file(tmp_path / "run" / "config.yaml")
    assert suite.track.config == track["config"]
    assert verify_artefact(tmp_path / "run").problems == ()
    check_submission(tmp_path / "run", tmp_path / "packed", world)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"positions": "f0+l2x"}, "the first and last tokens of a prompt, such as f7+l7"),
        ({"positions": "site", "generated": True}, "a site is one token"),
    ],
)
def test_what_is_no_position_is_refused_before_anything_runs(
    config: dict[str, object], said: str, world: World, tmp_path: Path
) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text(suite_text(world, **{**SUITE, "track": {"name": "erasure", "config": config}}))
    done = ravel("run", suite, "--out", tmp_path / "run")
    assert (done.exit_code, done.stderr.count("Expected"), (tmp_path / "run").exists()) == (2, 1, False)
    assert said in done.stderr.replace("\n", " ")


@pytest.mark.parametrize("strengths", [[2, 1], [1, 1], [0], []])
def test_strengths_ascend_from_above_0(strengths: list[float], world: World, tmp_path: Path) -> None:
    suite = tmp_path / "suite.yaml"
    track = {"name": "steering", "config": {"strengths": strengths}}
    suite.write_text(suite_text(world, **{**SUITE, "track": track}))
    done = ravel("run", suite, "--out", tmp_path / "run")
    assert done.exit_code == 2
    assert "strengths" in done.stderr
