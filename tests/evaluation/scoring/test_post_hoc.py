"""Balanced scores, breakdowns and dependence of a finished run: files, tables, commands and the page."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cli_world import ravel
from outcome_world import TRACK
from report_world import ATTRIBUTES, METHODS, make_run
from same_bytes import bytes_in

from evaluation.records.run_folder import RunFolder
from evaluation.records.run_records import RunRecords
from evaluation.records.scores import Outcome
from evaluation.report.page import write_report
from evaluation.report.publish import plot_inputs, publish_tables
from evaluation.scoring.interchange.metrics import scores
from evaluation.scoring.interchange.post_hoc import derive, read_derived, write_derived
from ravel.common.errors import SuiteError

FILES = ("balanced", "breakdowns", "dependence", "values")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run as it is before it is published."""
    return RunFolder(make_run(tmp_path_factory.mktemp("derived") / "run"))


@pytest.fixture
def copied(run: RunFolder, tmp_path: Path) -> RunFolder:
    """A run that a test may change."""
    shutil.copytree(run.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def test_publication_writes_the_numbers_and_both_tables(copied: RunFolder) -> None:
    paths = publish_tables(copied)
    assert {"balanced", "dependence"} <= {path.stem for path in paths}
    assert all((copied.path / f"{name}.jsonl").is_file() for name in FILES)
    derived = read_derived(RunRecords(copied), TRACK)
    assert derived == derive(RunRecords(copied), TRACK)
    before = bytes_in(copied.path)
    assert write_derived(RunRecords(copied), TRACK) == derived
    assert bytes_in(copied.path) == before


def test_every_chosen_point_has_its_records_on_test_pairs(run: RunFolder) -> None:
    derived = derive(RunRecords(run), TRACK)
    assert {(r.method, r.attributes) for r in derived.balanced if r.scope == "attribute"} == {
        (method, (attribute,)) for method in METHODS for attribute in ATTRIBUTES
    }
    assert {(r.generalisation, r.partition) for r in derived.balanced} == {
        ("context", "test"),
        ("entity", "test"),
    }
    assert {r.attribute for r in derived.breakdowns} == set(ATTRIBUTES)
    # Every label is expected equally often in each template, so that there is nothing to balance.
    outcomes = Outcome.read(run.cell("00".rjust(16, "0")).outcomes("context_test"))
    (balanced,) = [
        r
        for r in derived.balanced
        if (r.method, r.attributes, r.generalisation) == ("mdas", (ATTRIBUTES[0],), "context")
        and r.scope == "attribute"
    ]
    assert balanced.value("cause") == pytest.approx(scores(outcomes, ATTRIBUTES[0]).cause)


def test_labels_stand_in_for_facts_that_are_not_at_hand(run: RunFolder) -> None:
    derived = derive(RunRecords(run), TRACK)
    assert {r.source for r in derived.dependence} == {r.source for r in derived.skew} == {"labels"}
    assert {r.given for r in derived.dependence} == set(ATTRIBUTES)


def test_finished_runs_get_the_tables_without_being_written_to(run: RunFolder) -> None:
    before = bytes_in(run.path)
    balanced = ravel("table", run.path, "--table", "balanced")
    assert balanced.exit_code == 0, balanced.output
    assert "| Country, balanced |" in balanced.stdout
    dependence = ravel("table", run.path, "--table", "dependence")
    assert "| Country: Country |" in dependence.stdout
    assert "No pairs for Country: Country, context same: " in dependence.stdout
    assert bytes_in(run.path) == before


def test_what_can_not_be_made_is_refused(copied: RunFolder) -> None:
    for name in ("balanced", "dependence"):
        refused = ravel("table", copied.path, "--table", name, "--partition", "val")
        assert (refused.exit_code, "made of the test pairs" in refused.stderr) == (2, True)
    shutil.rmtree(copied.instance)
    assert publish_tables(copied)
    assert not (copied.path / "balanced.jsonl").exists()
    for name in ("balanced", "dependence"):
        refused = ravel("table", copied.path, "--table", name)
        assert (refused.exit_code, "the run's instance" in refused.stderr) == (2, True)


def test_outcomes_that_are_not_the_instances_are_refused(copied: RunFolder) -> None:
    path = copied.cell("00".rjust(16, "0")).outcomes("context_test")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(SuiteError, match="an outcome for each of the"):
        derive(RunRecords(copied), TRACK)


def test_cells_without_outcomes_are_left_out(copied: RunFolder) -> None:
    shutil.rmtree(copied.cell("00".rjust(16, "0")).path)
    found = {
        (r.method, r.attributes) for r in derive(RunRecords(copied), TRACK).balanced if r.scope == "attribute"
    }
    assert ("mdas", (ATTRIBUTES[0],)) not in found
    assert ("mdas", (ATTRIBUTES[1],)) in found


def test_the_page_shows_dependence_and_escapes_labels(copied: RunFolder) -> None:
    text = write_report(copied.path).read_text(encoding="utf-8")
    section = text[text.index('<section id="dependence"') : text.index('<section id="pairs"')]
    assert "labels for the entities of this instance" in section
    assert 'id="table-dependence"' in section
    assert 'id="table-balanced"' in section
    assert "&lt;img src=x" in section
    assert "<img" not in section
    assert '<li><a href="#dependence">Dependence</a></li>' in text
    shutil.rmtree(copied.instance)
    assert 'id="dependence"' not in write_report(copied.path).read_text(encoding="utf-8")


def test_dependence_goes_beside_entanglement_only_where_it_is_drawn(run: RunFolder) -> None:
    assert plot_inputs(run, ["entanglement"]).dependence
    assert not plot_inputs(run, ["sizes"]).dependence
