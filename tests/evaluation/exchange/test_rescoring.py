"""A finished run under another metric version: hand-computed numbers, the run's points, no mixtures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_world import World, ravel, suite_text
from outcome_world import TRACK

from evaluation.exchange.rescoring import rescore_run
from evaluation.records.scores import Outcome, ScoreRecord, read_averages, read_comparisons, read_scores
from evaluation.report.tables.of_runs import table_of_runs
from evaluation.scoring.clusters import clusters_of
from evaluation.tracks import TRACKS
from ravel.common.errors import SuiteError


@pytest.fixture(scope="module")
def run(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rescoring")
    (root / "suite.yaml").write_text(suite_text(world, methods=["pca"], generalisations=["context"]))
    done = ravel("run", root / "suite.yaml", "--out", root / "run")
    assert done.exit_code == 0, done.output
    return root / "run"


def outcome(number: int, template: str, *, swapped: bool, attribute: str = "Country") -> Outcome:
    kept = not swapped
    return Outcome(
        pair_id=f"p{number}",
        attribute=attribute,
        base_template=template,
        base_entity=f"e{number % 3}",
        source_entity="s",
        source_kind="same_attribute",
        said_swapped=swapped,
        said_unchanged=kept,
    )


def test_v2_rounds_each_template_before_the_mean() -> None:
    said = [outcome(n, "in a", swapped=n < 1) for n in range(3)]
    said += [outcome(n + 3, "in b", swapped=n < 2) for n in range(3)]
    said += [outcome(n + 6, "in c", swapped=n < 1, attribute="Language") for n in range(3)]
    first = TRACK.estimate(said, "Country", clusters_of(said))
    second = TRACK.under("v2").estimate(said, "Country", clusters_of(said))
    assert first["cause"].value == pytest.approx(0.5, abs=1e-15)
    assert second["cause"].value == pytest.approx((0.33 + 0.67) / 2)
    assert first["isolate"].value == pytest.approx(2 / 3)
    assert second["isolate"].value == pytest.approx(0.67)
    assert second["disentangle"].value == pytest.approx((0.5 + 0.67) / 2)


def test_v1_gives_the_records_of_the_run(run: Path, tmp_path: Path) -> None:
    rescored = rescore_run(run, "v1", tmp_path / "out")
    assert list(rescored.scores) == read_scores(run / "scores.jsonl")
    assert list(rescored.averages) == read_averages(run / "averages.jsonl")
    assert list(rescored.comparisons) == read_comparisons(run / "comparisons.jsonl")
    assert rescored.otherwise == ()
    assert (tmp_path / "out" / "scores.jsonl").read_bytes() == (run / "scores.jsonl").read_bytes()


def test_v2_is_stated_in_each_record_and_moves_no_point(run: Path, tmp_path: Path) -> None:
    done = ravel("rescore", run, "--metric", "v2", "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["metric"] == "v2"
    ours, theirs = read_scores(tmp_path / "out" / "scores.jsonl"), read_scores(run / "scores.jsonl")
    assert {record.metric for record in ours} == {"v2"}
    assert [key(r) for r in ours] == [key(r) for r in theirs]
    assert any(a.measures != b.measures for a, b in zip(ours, theirs, strict=True))
    for a, b in zip(ours, theirs, strict=True):
        if a.value("cause") is not None:
            assert a.value("cause") == pytest.approx(b.value("cause"), abs=0.005)
    told = json.loads((tmp_path / "out" / "rescored.json").read_text())
    assert told["says"] in (tmp_path / "out" / "main.md").read_text()


def key(record: ScoreRecord) -> tuple[object, ...]:
    return record.cell, record.attribute, record.partition, record.source_kind, record.chosen


def test_unknown_versions_and_unfinished_runs_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"metric version of the track interchange; got 'v9'"):
        rescore_run(run, "v9", tmp_path / "out")
    with pytest.raises(SuiteError, match="a known metric version of the track detection"):
        TRACKS.get("detection").under("v2")
    assert not (tmp_path / "out").exists()


def test_a_version_leaves_the_track_as_it_is() -> None:
    assert (TRACK.under("v2").metric, TRACK.metric, TRACK.under("v2").name) == ("v2", "v1", TRACK.name)


def test_versions_are_never_in_one_table(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for path in run.iterdir():
        (other / path.name).symlink_to(path)
    rescore_run(run, "v2", tmp_path / "v2")
    (other / "scores.jsonl").unlink()
    (other / "scores.jsonl").write_bytes((tmp_path / "v2" / "scores.jsonl").read_bytes())
    with pytest.raises(SuiteError, match="one metric version; got v1, v2"):
        table_of_runs([run, other], "models")
