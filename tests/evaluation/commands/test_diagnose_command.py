"""`ravel diagnose` on a miniature: one featurizer, a run, the page, and what users are told goes wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from cli_world import SITE, World, fit_args, ravel, suite_text

from das.featurizers import Activation, Dictionary, load_featurizer, save_featurizer
from evaluation.records.diagnosis import read_cell_diagnoses, read_diagnosis
from evaluation.records.run_folder import RunFolder
from evaluation.validity.diagnosis.checks import THRESHOLDS

FEW = ("--limit-pairs", 4)


@pytest.fixture(scope="module")
def fitted(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A subspace for Birthplace; leave it unchanged."""
    out = tmp_path_factory.mktemp("fits") / "fit"
    done = ravel(
        *("fit", "mean_difference", "--instance", world.instance, "--site", SITE),
        *("--attribute", "Birthplace", "--dim", 3, "--out", out),
    )
    assert done.exit_code == 0, done.output
    return out


@pytest.fixture(scope="module")
def run(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one subspace method with its control; copy it before it is changed."""
    folder = tmp_path_factory.mktemp("runs")
    suite = folder / "suite.yaml"
    small = {"methods": ["mean_difference"], "attributes": ["Birthplace"], "generalisations": ["context"]}
    suite.write_text(suite_text(world, **small, controls=["labels_shuffled"]))
    done = ravel("run", suite, "--out", folder / "run")
    assert done.exit_code == 0, done.output
    return folder / "run"


def as_dictionary(source: Path, out: Path) -> Path:
    """Write a featurizer of the same header that is no subspace."""
    _, header = load_featurizer(source)
    width = 32
    save_featurizer(
        Dictionary(
            encoder=torch.eye(width),
            encoder_bias=torch.zeros(width),
            decoder=torch.eye(width),
            decoder_bias=torch.zeros(width),
            mask=torch.ones(width),
            activation=Activation("relu"),
        ),
        out,
        header,
    )
    return out


def test_one_featurizer_from_the_command_line(world: World, fitted: Path, tmp_path: Path) -> None:
    out = tmp_path / "diagnosis.json"
    args = ("diagnose", fitted, "--instance", world.instance, *FEW, "--out", out)
    shown = ravel(*args)
    assert shown.exit_code == 0, shown.output
    found = read_diagnosis(out)
    assert f"Verdict: {found.verdict}" in shown.stdout
    assert "Thresholds are conventions" in shown.stdout
    assert [check.name for check in found.checks] == list(THRESHOLDS)
    assert (found.attribute, found.site, found.n_cause, found.n_isolate) == ("Birthplace", SITE, 4, 4)
    plain = ravel(*args, "--json")
    assert json.loads(plain.stdout) == json.loads(out.read_text())


def test_a_real_block_has_readers_neighbours_and_hidden_units(world: World, fitted: Path) -> None:
    plain = ravel("diagnose", fitted, "--instance", world.instance, *FEW, "--json")
    found = json.loads(plain.stdout)
    readers = {p["about"] for p in found["patches"] if p["name"] == "row"}
    assert readers == {"attention", "mlp", "next_block", "unembedding", "gradient"}
    beside = [p["about"] for p in found["patches"] if p["name"] == "full_vector_beside"]
    assert beside == ["block_output.0@entity_last", "block_output.2@entity_last"]
    measured = {m["name"]: m["value"] for m in found["measures"]}
    # What a whole natural vector does, natural ranges nearly allow; nobody is asked for more here.
    assert "hidden_pathway_full_vector" in measured
    assert measured["variance_share"] > 0


def test_a_run_is_diagnosed_and_its_page_shows_it(world: World, run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    page = (folder / "report.html").read_text()
    assert 'id="diagnostics"' not in page
    assert "#diagnostics" not in page
    shown = ravel("diagnose", folder, *FEW)
    assert shown.exit_code == 0, shown.output
    (path,) = folder.glob("cells/*/diagnostics.json")
    (diagnosis,) = read_cell_diagnoses(path).diagnoses
    assert f"mean_difference, Birthplace, seed 0: {diagnosis.verdict}" in shown.stdout
    shuffled = diagnosis.check("beats_shuffled")
    assert shuffled is not None
    assert shuffled.result != "not applicable"
    page = (folder / "report.html").read_text()
    assert 'id="diagnostics"' in page
    assert '<a href="#diagnostics">' in page
    assert diagnosis.verdict.split(";")[0] in page
    assert page.count('class="diagnosis"') == 1
    written = path.stat().st_mtime_ns
    again = ravel("diagnose", folder, *FEW)
    # With equal settings nothing is done again; with others it is.
    assert (again.stdout, path.stat().st_mtime_ns) == (shown.stdout, written)
    ravel("diagnose", folder, "--limit-pairs", 3)
    assert path.stat().st_mtime_ns != written
    assert ravel("verify", folder).exit_code == 0


def test_what_is_no_subspace_is_listed_in_a_run(world: World, run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (cell,) = (h["cell"] for h in RunFolder(folder).finished_cells() if h["method"] == "mean_difference")
    path = folder / "cells" / cell
    as_dictionary(path, path)
    shown = ravel("diagnose", folder, *FEW, "--json")
    (row,) = json.loads(shown.stdout)
    assert row["diagnosis"] is None
    assert "a dictionary" in row["reason"]
    assert "1 without a diagnosis" in (folder / "report.html").read_text()


def test_what_is_no_subspace_is_refused(world: World, fitted: Path, tmp_path: Path) -> None:
    other = as_dictionary(fitted, tmp_path / "dictionary")
    shown = ravel("diagnose", other, "--instance", world.instance)
    assert shown.exit_code == 2
    assert "Expected a featurizer that swaps a linear subspace" in shown.stderr
    assert shown.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--split", "contxt"), "context"),
        (("--partition", "train"), "train"),
        (("--attribute", "Birthplaces"), "Birthplace"),
        (("--shuffled", "nowhere"), "nowhere"),
    ],
)
def test_a_wrong_flag_is_one_paragraph(world: World, fitted: Path, args: tuple[str, ...], said: str) -> None:
    shown = ravel("diagnose", fitted, "--instance", world.instance, *args)
    assert shown.exit_code == 2
    assert said in shown.stderr
    assert shown.stderr.count("\n") == 1


def test_a_featurizer_for_every_attribute_needs_one_named(world: World, tmp_path: Path) -> None:
    assert ravel(*fit_args(world, tmp_path / "f")).exit_code == 0
    shown = ravel("diagnose", tmp_path / "f", "--instance", world.instance)
    assert shown.exit_code == 2
    assert "give it with --attribute" in shown.stderr


def test_what_is_missing_or_too_much_is_named(world: World, fitted: Path, run: Path) -> None:
    alone = ravel("diagnose", fitted)
    assert alone.exit_code == 2
    assert "give --instance" in alone.stderr
    crowded = ravel("diagnose", run, "--instance", world.instance, "--attribute", "Birthplace")
    assert crowded.exit_code == 2
    assert "--instance, --attribute" in crowded.stderr
    foreign = ravel("diagnose", fitted, "--instance", world.instance, "--model", world.other_model)
    assert foreign.exit_code == 2
    assert "another target model" in foreign.stderr
