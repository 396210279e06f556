"""A run of a track that is no interchange, from suite to submission: nothing but its plugin knows it."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_world import SITE, World, ravel, suite_text
from execution_world import results
from track_runs import carried_out

from evaluation import api
from evaluation.records.scores import ScoreRecord, read_averages, read_scores
from evaluation.report.page import read_report
from evaluation.verify.folders import verify_artefact
from ravel.common.errors import SuiteError
from ravel.common.io import canonical_json, sha256_text
from ravel.common.registry.plugins import plugins_named

PLUGIN = Path(__file__).with_name("recognition.py")
SUITE: dict[str, object] = {
    "methods": ["lda", "pca"],
    "sites": [SITE, "block_output.2@entity_last"],
    "sizes": [2, 4],
    "track": "recognition",
}
MEASURES = ("recognised", "leaked")


@pytest.fixture(scope="module", autouse=True)
def _plugin() -> Iterator[None]:
    with plugins_named([PLUGIN]):
        yield


@pytest.fixture(scope="module")
def run(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; leave it unchanged."""
    folder = tmp_path_factory.mktemp("recognition") / "run"
    carried_out(world, folder, SUITE)
    return folder


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """A run that a test may change."""
    return shutil.copytree(run, tmp_path / "run")


def changed(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the first line of a file."""
    first, *others = path.read_text().splitlines(keepends=True)
    row = json.loads(first)
    change(row)
    path.write_text("".join([json.dumps(row) + "\n", *others]))


def test_points_are_chosen_by_its_criterion_on_validation_prompts(run: Path) -> None:
    found = read_scores(run / "scores.jsonl")
    assert {(record.track, tuple(sorted(record.measures))) for record in found} == {
        ("recognition", tuple(sorted(MEASURES)))
    }
    by_point: dict[tuple[str, str, str, int], list[ScoreRecord]] = {}
    for record in found:
        if record.partition == "val":
            key = (record.method, record.attribute, record.site, record.size)
            by_point.setdefault(key, []).append(record)
    means = {key: sum(r.value("recognised") or 0.0 for r in own) / len(own) for key, own in by_point.items()}
    chosen = {key for key, own in by_point.items() if own[0].chosen}
    assert {key[:2] for key in chosen} == {key[:2] for key in by_point}
    for key in chosen:
        assert means[key] == max(mean for other, mean in means.items() if other[:2] == key[:2])
    assert len(set(means.values())) > 2
    tested = {record.method for record in found if record.partition == "test"}
    assert tested == {"lda", "pca", "random_subspace", "full_vector"}


def test_its_references_are_added_and_no_others(run: Path) -> None:
    config = api.SuiteConfig.from_file(run / "config.yaml")
    assert [spec.name for spec in config.methods] == ["lda", "pca", "random_subspace", "full_vector"]
    assert config.track.model_dump() == {"name": "recognition", "config": {"scaled": False}}


def test_tables_have_its_columns_in_every_format(run: Path) -> None:
    markdown = (run / "tables" / "main.md").read_text()
    assert markdown.startswith("### Recognition on invented\\_person with ")
    assert "| prompts | " in markdown
    assert "random\\_subspace reads a random part, full\\_vector reads all there is." in markdown
    for suffix in ("md", "csv", "tex", "html"):
        text = (run / "tables" / f"main.{suffix}").read_text()
        assert all(name in text for name in MEASURES)
        assert not re.search(r"cause|isolate|disentangle", text)
    rows = csv.DictReader((run / "tables" / "main.csv").read_text().splitlines())
    best = {(row["generalisation"], row["score"]): float(row["value"]) for row in rows if row["best"] == "1"}
    learned = [record for record in read_averages(run / "averages.jsonl") if record.method in ("lda", "pca")]
    macro = [r for r in learned if (r.scope, r.partition) == ("macro", "test")]
    for generalisation in ("context", "entity"):
        own = [record for record in macro if record.generalisation == generalisation]
        assert best[generalisation, "recognised"] == max(r.value("recognised") or 0.0 for r in own)
        # Less is better.
        assert best[generalisation, "leaked"] == min(r.value("leaked") or 0.0 for r in own)
    assert sorted(path.stem for path in (run / "tables").glob("*.md")) == ["attributes", "main"]
    drawn = {path.stem.split("_")[0] for path in (run / "plots").glob("*.svg")}
    assert drawn <= {"layers", "angles", "training"}


def test_the_page_is_about_its_measures_and_has_no_pairs(run: Path) -> None:
    page = (run / "report.html").read_text()
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)[-1]
    assert '...["recognised", "leaked"].map(' in script
    assert "row.n_recognised + row.n_leaked" in script
    assert not re.search(r"\[\[ \w+ \]\]", page)
    assert '<section id="pairs" aria-labelledby="pairs-title" hidden>' in page
    assert "Which features tell the value of an attribute?" in page
    report = read_report(run)
    assert re.search(r"tells values best \(highest recognised|best recognised: ", report.headline)
    assert "disentangle" not in report.headline
    said = " ".join(sentence for verdict in report.verdicts for sentence in verdict.sentences)
    assert "Floors: a random part 0." in said
    assert "Ceiling: reading the whole vector reaches recognised 0." in said
    row = report.payload["rows"][0]
    assert {*MEASURES, "n_recognised", "n_leaked"} <= set(row)


def test_a_notebook_has_its_columns(run: Path) -> None:
    opened = api.Run.open(run)
    assert {"recognised", "leaked_low", "n_recognised", "track"} <= set(opened.scores().columns)
    assert {"recognised_p", "recognised_p_adjusted"} <= set(opened.comparisons().columns)
    outcomes = opened.outcomes("context_test")
    assert {"prompt_id", "margin", "asked"} <= set(outcomes.columns)
    assert len(outcomes) > 0


def test_what_is_damaged_or_gone_is_done_again_to_the_same_bytes(world: World, run: Path, copy: Path) -> None:
    cells = sorted((copy / "cells").iterdir())
    shutil.rmtree(cells[0])
    (cells[1] / "cell.json").unlink()
    judged = sorted(copy.glob("cells/*/outcomes/*_test.jsonl"))
    judged[-1].write_text(judged[-1].read_text()[:-9])
    (copy / "scores.jsonl").unlink()
    carried_out(world, copy, SUITE)
    assert results(copy) == results(run)


def test_another_track_in_the_folder_of_a_run_is_refused(world: World, copy: Path) -> None:
    before = results(copy)
    with pytest.raises(SuiteError, match="track"):
        carried_out(world, copy, SUITE | {"track": "interchange"})
    with pytest.raises(SuiteError, match="scaled"):
        carried_out(world, copy, SUITE | {"track": {"name": "recognition", "config": {"scaled": True}}})
    assert results(copy) == before


@pytest.mark.slow
def test_a_pool_of_two_gives_the_same_bytes(world: World, run: Path, tmp_path: Path) -> None:
    execution = {"kind": "processes", "workers": 2, "threads": 2}
    carried_out(world, tmp_path / "run", SUITE | {"execution": execution})
    assert results(tmp_path / "run") == results(run)


def test_settings_of_the_track_make_other_cells(world: World, run: Path, tmp_path: Path) -> None:
    changes = {"track": {"name": "recognition", "config": {"scaled": True}}, "sites": [SITE], "sizes": [2]}
    carried_out(world, tmp_path / "run", SUITE | {"methods": ["pca"]} | changes)
    ours = {path.name for path in (tmp_path / "run" / "cells").iterdir()}
    assert not ours & {path.name for path in (run / "cells").iterdir()}
    assert verify_artefact(tmp_path / "run").problems == ()


class TestVerify:
    def test_a_run_is_sound(self, run: Path) -> None:
        assert verify_artefact(run).problems == ()

    @pytest.mark.parametrize(
        ("file", "change", "said"),
        [
            (
                "cells/*/outcomes/*_test.jsonl",
                lambda row: row.update(margin=1.0 if row["margin"] <= 0 else -1.0),
                "outcomes give",
            ),
            ("cells/*/outcomes/*_val.jsonl", lambda row: row.update(margin="wide"), "'margin'"),
            ("cells/*/outcomes/*_val.jsonl", lambda row: row.update(base_entity="Nobody"), "Nobody"),
            ("scores.jsonl", lambda row: row.update(leaked=0.987), "leaked 0.987"),
            ("scores.jsonl", lambda row: row.pop("leaked"), "missing: leaked"),
            ("scores.jsonl", lambda row: row.update(more=0.5, more_interval=None), "more"),
            ("scores.jsonl", lambda row: row.pop("track"), "missing: cause"),
            ("averages.jsonl", lambda row: row.update(recognised_interval=None), "recognised_interval"),
            ("comparisons.jsonl", lambda row: row.update(recognised_p_adjusted=0.9), "recognised_p_adjusted"),
            ("cells/*/cell.json", lambda row: row.update(track="interchange"), "hash"),
            ("cells/*/cell.json", lambda row: row.update(track_config={"scaled": True}), "hash"),
        ],
    )
    def test_a_change_is_found(
        self, file: str, change: Callable[[dict[str, Any]], object], said: str, copy: Path
    ) -> None:
        path = sorted(copy.glob(file))[0]
        if path.suffix == ".json":
            stated = json.loads(path.read_text())
            change(stated)
            path.write_text(json.dumps(stated))
        else:
            changed(path, change)
        problems = verify_artefact(copy).problems
        assert any(said in problem for problem in problems), problems

    def test_a_whole_cell_of_another_track_is_found(self, copy: Path) -> None:
        cell = sorted((copy / "cells").iterdir())[0]
        stated = json.loads((cell / "cell.json").read_text())
        foreign = {name: value for name, value in stated.items() if not name.startswith("track")}
        hashed = {n: v for n, v in foreign.items() if n not in ("cell", "swapped", "batches", "cost")}
        foreign["cell"] = sha256_text(canonical_json(hashed))[:16]
        (cell / "cell.json").write_text(json.dumps(foreign))
        cell.rename(cell.with_name(foreign["cell"]))
        problems = verify_artefact(copy).problems
        assert any("states the track interchange, the run is of recognition" in p for p in problems)


@pytest.fixture(scope="module")
def packed(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run submits; leave it unchanged."""
    out = tmp_path_factory.mktemp("submission") / "submission"
    api.submit(run, out, api.SubmissionInfo("mine"))
    return out


class TestSubmission:
    def test_its_manifest_names_the_track_and_not_the_references(self, packed: Path) -> None:
        manifest = json.loads((packed / "submission.json").read_text())
        assert (manifest["track"], manifest["judging"]["settings"]) == ("recognition", {"scaled": False})
        assert manifest["methods"] == ["lda", "pca"]
        assert verify_artefact(packed).problems == ()

    def test_the_model_bears_its_claims_out(self, packed: Path, run: Path, world: World) -> None:
        assert verify_artefact(packed, world.instance).problems == ()
        judged = api.score_submission(packed, world.instance, api.TargetConfig(model=str(world.model)))
        assert (judged.claimed > 0, judged.differences) == (True, ())
        ours = {(r.cell, r.attribute, r.generalisation): r.measures for r in judged.scores}
        for record in read_scores(run / "scores.jsonl"):
            if record.chosen and record.partition == "test" and record.method in ("lda", "pca"):
                assert ours[record.cell, record.attribute, record.generalisation] == record.measures

    def test_a_claim_that_its_outcomes_do_not_give_is_told(self, packed: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(packed, tmp_path / "submission")
        changed(folder / "scores.jsonl", lambda row: row.update(recognised=0.875))
        assert verify_artefact(folder).problems


class TestCommands:
    def test_it_is_listed(self) -> None:
        rows = {row["name"]: row for row in json.loads(ravel("list", "tracks", "--json").stdout)}
        assert rows["recognition"]["measures"] == list(MEASURES)
        assert rows["interchange"]["references"][:2] == ["no_op", "full_vector"]

    def test_a_cell_is_scored_as_its_track_has_it(self, run: Path, world: World) -> None:
        record = next(r for r in read_scores(run / "scores.jsonl") if r.chosen and r.partition == "test")
        done = ravel(
            *("score", run / "cells" / record.cell, "--instance", world.instance, "--json"),
            *("--split", record.generalisation),
        )
        found = [json.loads(line) for line in done.stdout.splitlines()]
        (ours,) = [row for row in found if row["attribute"] == record.attribute]
        assert ours | {"chosen": True} == json.loads(json.dumps(record.to_json()))

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"track": "recogniton"}, "'recognition'"),
            ({"track": {"name": "recognition", "config": {"scale": True}}}, "'scaled'"),
            ({"controls": ["all"]}, "there are none"),
            ({"controls": ["other_source"]}, "there are none"),
        ],
    )
    def test_a_suite_that_can_not_be_is_refused(
        self, changes: dict[str, object], said: str, world: World, tmp_path: Path
    ) -> None:
        suite = tmp_path / "suite.yaml"
        suite.write_text(suite_text(world, **{**SUITE, **changes}))
        done = ravel("run", suite, "--out", tmp_path / "run")
        assert (done.exit_code, done.stdout) == (2, "")
        assert said in done.stderr
        opening, _, mistake = done.stderr.partition("\n")
        assert opening.startswith("opening ")
        assert mistake.startswith("Expected")
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize("name", ["balanced", "kinds", "controls"])
    def test_a_table_it_has_not_is_refused(self, name: str, run: Path) -> None:
        done = ravel("table", run, "--table", name)
        assert (done.exit_code, "main, attributes, seeds, types" in done.stderr) == (2, True)
