"""A finished run is published from its folder alone: every table, every figure, the numbers behind them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from cli_world import ravel
from outcome_world import outcome, score_record

from das.featurizers import FeaturizerHeader, Subspace, save_featurizer
from das.sites import Site
from evaluation.records.run_folder import RunFolder
from evaluation.records.scores import Refusal, ScoreRecord
from evaluation.report.publish import write_publication
from ravel.common.io import write_json, write_jsonl, write_text

SITE = "block_output.1@entity_last"
KINDS = ("all", "same_attribute")


LABEL_B = ("--model-label", "B_ours")


def records() -> list[ScoreRecord]:
    """Chosen records of two attributes, by source kind on test pairs, and of the floor that serves both."""
    made = []
    for method, attribute in (("das", "A"), ("das", "B"), ("no_op", "A"), ("no_op", "B")):
        cell = "floor" if method == "no_op" else f"das-{attribute}"
        for partition, kinds in (("val", KINDS[:1]), ("test", KINDS)):
            made += [
                score_record(
                    method=method,
                    attribute=attribute,
                    cell=cell,
                    site=SITE,
                    size=0 if method == "no_op" else 2,
                    partition=partition,
                    chosen=True,
                    source_kind=kind,
                )
                for kind in kinds
            ]
    return made


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run folder with records and chosen cells, and nothing that needs a model."""
    folder = RunFolder(tmp_path_factory.mktemp("publication") / "run")
    write_text(folder.config, "methods: [das]\n")
    write_jsonl(folder.scores, (record.to_json() for record in records()))
    write_jsonl(folder.refusals, [Refusal("lda", "B", "no classes").to_json()])
    for cell, attribute, columns in (("das-A", "A", [0, 1]), ("das-B", "B", [1, 2]), ("floor", "*", [])):
        header = FeaturizerHeader("das", attribute, "city", Site.parse(SITE), 0, "m", "0", "0")
        save_featurizer(Subspace(torch.eye(4)[:, columns]), folder.cell(cell).path, header)
        said = {"A": "swapped" if attribute == "A" else "unchanged", "B": "unchanged"}
        outcomes = [outcome(name, f"{name}0", f"e{i}", said[name]) for name in "AB" for i in range(4)]
        folder.cell(cell).write_outcomes("context_test", outcomes)
        write_jsonl(folder.cell(cell).train_log, [{"phase": "train", "step": 1, "loss": 1.0}] * bool(columns))
        write_json(folder.cell(cell).header, {"cell": cell})
    return folder


@pytest.fixture(scope="module")
def paths(run: RunFolder) -> list[Path]:
    """The files of the publication, once written."""
    return write_publication(run)


def test_tables_and_figures_come_from_the_folder_alone(run: RunFolder, paths: list[Path]) -> None:
    assert all(path.is_file() for path in paths)
    assert {path.stem for path in paths if path.parent == run.tables} == {"main", "attributes", "kinds"}
    assert {path.stem for path in paths if path.parent == run.plots} == {
        *("cause_isolate", "angles_trained_subspaces", "training"),
        *("entanglement_context_trained_subspaces", "entanglement_context_floors"),
    }
    # PDF is drawn where it is asked for: by `ravel plot`.
    assert {path.suffix for path in paths if path.parent == run.plots} == {".png", ".svg"}
    assert "No answer by lda for B: no classes." in (run.tables / "main.md").read_text()


@pytest.mark.slow
def test_equal_folders_give_equal_files(run: RunFolder, paths: list[Path]) -> None:
    before = {path: path.read_bytes() for path in paths}
    assert write_publication(run) == paths
    assert before == {path: path.read_bytes() for path in paths}


@pytest.mark.usefixtures("paths")
def test_the_numbers_behind_the_heat_maps_are_kept(run: RunFolder) -> None:
    angles = [json.loads(line) for line in (run.plots / "angles.jsonl").read_text().splitlines()]
    assert [(row["first"], row["second"], row["overlap"]) for row in angles] == [("A", "B", 0.5)]
    entangled = [json.loads(line) for line in (run.plots / "entanglement.jsonl").read_text().splitlines()]
    shares = {(r["method"], r["swapped"], r["asked"]): (r["kept"], r["took"]) for r in entangled}
    assert shares["das", "A", "A"] == (0.0, 1.0)
    assert shares["das", "B", "A"] == (1.0, 0.0)
    assert shares["no_op", "B", "A"] == shares["no_op", "A", "A"] == (1.0, 0.0)
    assert len(shares) == 8


def test_the_commands_offer_every_table_and_figure(run: RunFolder, tmp_path: Path) -> None:
    for name in ("main", "attributes", "kinds", "types"):
        for style in ("markdown", "latex", "csv", "html"):
            shown = ravel("table", run.path, "--table", name, "--format", style)
            assert shown.exit_code == 0, shown.output
            assert "das" in shown.stdout.lower()
    drawn = ravel("plot", run.path, "--plot", "training", "--out", tmp_path / "plots")
    assert drawn.exit_code == 0, drawn.output
    assert sorted(p.name for p in (tmp_path / "plots").iterdir()) == [
        f"training.{suffix}" for suffix in ("pdf", "png", "svg", "txt")
    ]


def test_several_runs_make_a_table_of_types(run: RunFolder, tmp_path: Path) -> None:
    other = RunFolder(tmp_path / "people")
    shutil.copytree(run.path, other.path)
    people = [{**record.to_json(), "entity_type": "person"} for record in records()]
    write_jsonl(other.scores, people)
    shown = ravel("table", run.path, other.path, "--table", "types")
    assert "context city | context person | context mean" in shown.stdout
    for arguments, words in (
        ((run.path, other.path), "one run for the table main"),
        ((run.path, run.path, "--table", "types"), "several runs of city"),
        ((run.path, "--table", "kind"), "did you mean 'kinds'"),
    ):
        refused = ravel("table", *arguments)
        assert refused.exit_code == 2
        assert words in refused.stderr


def test_a_model_is_called_by_its_label_everywhere(run: RunFolder, tmp_path: Path) -> None:
    shown = ravel("table", run.path, run.path, "--table", "models", *("--model-label", "A"), *LABEL_B)
    assert "\n| A | " in shown.stdout
    assert "\n| B\\_ours | " in shown.stdout
    refused = ravel("table", run.path, run.path, "--table", "models")
    assert "one run per model" in refused.stderr
    assert "with B\\_ours" in ravel("table", run.path, *LABEL_B).stdout
    assert "B_ours" in ravel("table", run.path, *LABEL_B, "--format", "csv").stdout
    page = tmp_path / "page.html"
    ravel("report", run.path, "--out", page, *LABEL_B)
    assert "city · B_ours" in page.read_text(encoding="utf-8")


def test_a_local_model_is_called_by_its_folder(run: RunFolder, tmp_path: Path) -> None:
    """Where it lay on the machine of the run is nobody's title."""
    other = RunFolder(tmp_path / "local")
    shutil.copytree(run.path, other.path)
    write_jsonl(
        other.scores, [{**record.to_json(), "model": "/home/me/models/pythia"} for record in records()]
    )
    said = ravel("table", other.path).stdout
    assert "with pythia" in said
    assert "/home" not in said


def test_a_figure_without_records_is_refused(run: RunFolder) -> None:
    refused = ravel("plot", run.path, "--plot", "layers")
    assert refused.exit_code == 2
    assert "to draw layers from" in refused.stderr
