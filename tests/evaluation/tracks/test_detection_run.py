"""Runs of the track detection, from suite to submission; the shared machinery knows no detector."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cli_world import SITE, World, ravel, suite_text
from execution_world import results
from track_runs import carried_out, check_submission

from evaluation.records.outcomes.detections import Detection
from evaluation.records.scores import ScoreRecord, read_averages, read_refusals, read_scores
from evaluation.tracks import TRACKS
from evaluation.verify.folders import verify_artefact
from ravel.instance import Instance

METHODS = ("diff_mean", "probe", "prompt", "lda", "mean_difference", "full_vector")
SUITE: dict[str, object] = {
    "methods": [*METHODS, {"name": "bow", "config": {"names": True}}],
    "sites": [SITE, "block_output.2@entity_last"],
    "sizes": [2],
    "track": "detection",
}
MEASURES = ("auroc", "hard_auroc", "balanced_accuracy", "f1", "rare_f1")


@pytest.fixture(scope="module")
def run(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; leave it unchanged."""
    folder = tmp_path_factory.mktemp("detection") / "run"
    carried_out(world, folder, SUITE)
    return folder


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """A run that a test may change."""
    return shutil.copytree(run, tmp_path / "run")


def chosen(run: Path, method: str) -> list[ScoreRecord]:
    """The test scores of a method's chosen cells."""
    return [
        record
        for record in read_scores(run / "scores.jsonl")
        if (record.method, record.partition, record.chosen) == (method, "test", True)
    ]


def test_every_row_has_every_measure_where_there_are_concepts(run: Path) -> None:
    found = read_scores(run / "scores.jsonl")
    assert {record.method for record in found} == {*METHODS, "no_op", "random_direction", "bow"}
    assert {(record.track, record.attribute) for record in found} == {("detection", "Birthplace")}
    for record in found:
        assert set(record.measures) == set(MEASURES)
        assert record.value("auroc") is not None


def test_reading_nothing_is_at_chance_to_the_bit(run: Path) -> None:
    for record in chosen(run, "no_op"):
        wanted = {"auroc": 0.5, "hard_auroc": 0.5, "balanced_accuracy": 0.5, "f1": 0.0, "rare_f1": 0.0}
        for name, value in wanted.items():
            # Where no two entities agree on anything else there are no hard negatives.
            assert record.value(name) in (value, None if name == "hard_auroc" else value)
            low, high = record.interval(name) or (0.0, 1.0)
            assert low < high


def test_reading_the_whole_vector_is_the_difference_of_means(run: Path) -> None:
    for ours, theirs in zip(chosen(run, "full_vector"), chosen(run, "diff_mean"), strict=True):
        for name in MEASURES:
            assert ours.value(name) == pytest.approx(theirs.value(name), abs=1e-9)


def test_a_random_direction_tells_less_than_a_learned_one(run: Path) -> None:
    best = max(record.value("auroc") or 0 for record in chosen(run, "random_direction"))
    assert best < max(record.value("auroc") or 0 for record in chosen(run, "probe"))


def test_an_attribute_without_concepts_is_a_hole_with_a_reason(run: Path, world: World) -> None:
    track = TRACKS.get("detection")
    instance = Instance.load(world.instance)
    assert [track.asks_about(instance, a) for a in instance.attributes] == [True, False]
    refusals = read_refusals(run / "refusals.jsonl")
    detectors = {"diff_mean", "probe", "prompt", "random_direction", "bow"}
    assert {r.method for r in refusals if r.attribute == "Profession"} >= detectors
    assert all("training entities" in r.reason for r in refusals if r.method in detectors)
    assert {record.scope for record in read_averages(run / "averages.jsonl")} == {"attribute", "macro"}


def test_tables_and_page_speak_of_detection(run: Path) -> None:
    markdown = (run / "tables" / "main.md").read_text()
    assert markdown.startswith("### Detection on invented\\_person with ")
    assert "no\\_op reads nothing" in markdown
    rows = list(csv.DictReader((run / "tables" / "main.csv").read_text().splitlines()))
    assert {row["score"] for row in rows} >= set(MEASURES)
    page = (run / "report.html").read_text()
    assert "From which part of the hidden vector can the value of an attribute be told?" in page
    assert (run / "tables" / "attributes.md").read_text().count("Profession") >= 1


def test_what_is_damaged_or_gone_is_done_again_to_the_same_bytes(world: World, run: Path, copy: Path) -> None:
    cells = sorted((copy / "cells").iterdir())
    shutil.rmtree(cells[0])
    judged = sorted(copy.glob("cells/*/outcomes/*_test.jsonl"))
    judged[-1].write_text(judged[-1].read_text()[:-9])
    (copy / "scores.jsonl").unlink()
    carried_out(world, copy, SUITE)
    assert results(copy) == results(run)


def test_a_run_is_sound_and_changes_are_found(run: Path, copy: Path) -> None:
    assert verify_artefact(run).problems == ()
    for path in sorted(copy.glob("cells/*/outcomes/*_test.jsonl")):
        rows: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]
        if any(any(row["margins"]) for row in rows):
            break
    changes: list[dict[str, Any]] = [
        {"value": "elsewhere"},
        {"others": {"Profession": "none"}},
        {"told": ["4"]},
        {"margins": [0.25]},
    ]
    for change in changes:
        path.write_text("".join(json.dumps(row) + "\n" for row in ({**rows[0], **change}, *rows[1:])))
        assert verify_artefact(copy).problems
    turned = [{**row, "margins": [-margin for margin in row["margins"]]} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in turned))
    assert verify_artefact(copy).problems


def test_a_submission_is_borne_out_by_the_model(run: Path, world: World, tmp_path: Path) -> None:
    check_submission(run, tmp_path / "submission", world)


def test_a_detector_is_scored_by_itself_and_has_a_card(run: Path, world: World) -> None:
    (record, *_) = chosen(run, "diff_mean")
    done = ravel(
        *("score", run / "cells" / record.cell, "--instance", world.instance, "--json"),
        *("--split", record.generalisation),
    )
    (ours,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert ours | {"chosen": True} == json.loads(json.dumps(record.to_json()))
    card = ravel("card", run / "cells" / record.cell)
    assert (card.exit_code, "A detector: a score for each of 2 values" in card.stdout) == (0, True)


def test_a_detector_under_another_track_is_refused(world: World, tmp_path: Path) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text(suite_text(world, methods=["diff_mean"]))
    done = ravel("run", suite, "--out", tmp_path / "run")
    assert done.exit_code == 2
    assert "diff_mean, which finds a detector" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_pool_of_two_gives_the_same_bytes(world: World, run: Path, tmp_path: Path) -> None:
    carried_out(
        world, tmp_path / "run", SUITE | {"execution": {"kind": "processes", "workers": 2, "threads": 2}}
    )
    assert results(tmp_path / "run") == results(run)


def test_margins_are_one_for_each_value_or_none() -> None:
    case = {"prompt_id": "p", "attribute": "A", "base_template": "t", "base_entity": "e", "value": "v"}
    row = {**case, "others": {}, "told": ["v", "w"], "margins": [0.5]}
    outcome = Detection.from_json(row, origin="here")
    assert outcome.fault() == "1 margins for 2 values"
