"""Controls of a suite on the planted world: at their floors, beside the grid, resumable, marked in tables and
on the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from outcome_world import TRACK, average_record
from planted_world import SITE, PlantedWorld
from same_bytes import bytes_in
from torch import Tensor

from das.engine.base.protocol import ForcedPair
from das.featurizers.base import Featurizer
from das.sites import Site
from evaluation.config.suite import SuiteConfig
from evaluation.records.control_checks import (
    CONTROL_CHECKS,
    EVERY_ATTRIBUTE,
    NECESSITY,
    ControlCheck,
    control_sentences,
    control_summary,
    is_at_floor,
    read_control_checks,
)
from evaluation.records.scores import control_row, is_control
from evaluation.report.common.families import CONTROLLED, by_family, family_of
from evaluation.report.page import write_report
from evaluation.report.tables import main_table, render
from evaluation.report.tables.controls import control_table, necessity_table
from evaluation.report.tables.of_runs import table_of_runs
from evaluation.suite.controls import CONTROLS
from evaluation.suite.grid import control_cell, plan_cells, resolve
from evaluation.suite.run import RunRequest, RunSummary, run_suite
from evaluation.verify.folders import verify_artefact
from ravel.common.errors import SuiteError
from ravel.common.io import read_json

WORLD = PlantedWorld(0, n_entities=120)
INSTANCE = WORLD.instance(n_pairs=200, n_held_out=120)
OWN = ("mdas", "macro", "test", "all")
QUICK = {"epochs": 2, "learning_rate": 0.05, "validation_pairs": 40}
WITHOUT_A_MODEL = ("complement", "labels_shuffled", "other_source", "values_permuted")


def config(**changes: Any) -> SuiteConfig:
    """A suite of mdas at two sizes, with the floors and the controls that need no second model."""
    fields: dict[str, Any] = {
        "instance": "in-memory",
        "methods": [{"name": "mdas", "config": QUICK}],
        "sites": [str(SITE)],
        "sizes": [2, 3],
        "seeds": [0],
        "generalisations": ["context"],
        "resamples": 100,
        "controls": list(WITHOUT_A_MODEL),
    }
    return SuiteConfig.from_mapping(fields | changes, origin="a test")


class Counted(PlantedWorld):
    """The planted world, which counts its calls and stops after some."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__(0, n_entities=120)
        self.calls = 0
        self.stop_after = stop_after

    def interchange_logits(
        self, pairs: Sequence[ForcedPair], site: Site, featurizer: Featurizer | None
    ) -> Tensor:
        """Count, and raise KeyboardInterrupt when the time has come."""
        self.calls += 1
        if self.stop_after is not None and self.calls > self.stop_after:
            raise KeyboardInterrupt
        return super().interchange_logits(pairs, site, featurizer)


PUBLISHED = ("tables", "plots", "report.html", "environment.json")
DERIVED = ("balanced.jsonl", "breakdowns.jsonl", "dependence.jsonl", "values.jsonl")


def own_files(folder: Path) -> dict[str, bytes]:
    """Every file that a run itself writes: what is made of its records is left out."""
    made = (*PUBLISHED, *DERIVED)
    return {name: found for name, found in bytes_in(folder).items() if name.split("/")[0] not in made}


@pytest.fixture
def _unpublished(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out tables, figures and page, which take most of the time of a small run."""
    monkeypatch.setattr("evaluation.suite.finish.write_publication", lambda run, records: [])
    monkeypatch.setattr("evaluation.suite.finish.write_report", lambda folder, records: folder)


unpublished = pytest.mark.usefixtures("_unpublished")


@pytest.fixture(scope="module")
def counted() -> Counted:
    """The engine of the uninterrupted run."""
    return Counted()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, counted: Counted) -> RunSummary:
    """One uninterrupted run, which the tests leave as it is."""
    return run_suite(
        RunRequest(config(), tmp_path_factory.mktemp("runs") / "whole", engine=counted, instance=INSTANCE)
    )


def means(summary: RunSummary) -> dict[tuple[str, str], ControlCheck]:
    """The means over attributes by control and view."""
    return {(c.control, c.judged): c for c in summary.controls if c.attribute == EVERY_ATTRIBUTE}


def test_controls_are_at_their_floors_and_the_method_is_not(finished: RunSummary) -> None:
    found = means(finished)
    assert set(found) == {
        ("complement", "all but the part"),
        ("labels_shuffled", "shuffled answers"),
        ("labels_shuffled", "true answers"),
        ("other_source", "other sources"),
        ("values_permuted", "permuted values"),
    }
    for (_, judged), check in found.items():
        if check.measure == NECESSITY:
            continue
        assert check.ordinary is not None
        assert check.ordinary > 0.8
        assert check.floor is not None
        if judged != "true answers":
            # Four values, of which a swap never brings the base's own: a third by chance.
            assert 0.2 < check.floor < 0.5
            assert check.at_floor, judged


def test_a_part_that_alone_carries_its_attribute_is_necessary(finished: RunSummary) -> None:
    check = means(finished)["complement", "all but the part"]
    assert (check.measure, check.required, check.at_floor) == (NECESSITY, False, False)
    assert check.score is not None
    # What is planted is nowhere else; a swap of the whole vector keeps nothing of the base's.
    assert check.score > 0.8
    assert check.floor == 0.0
    # As many pairs as cause has, and the same ones.
    (cause,) = [r for r in finished.averages if (r.method, r.scope, r.partition, r.source_kind) == OWN]
    assert check.n == cause.n("cause")


def test_necessity_stands_beside_cause(finished: RunSummary) -> None:
    table = necessity_table(finished.controls, finished.averages, TRACK)
    assert [column.name for column in table.columns] == ["cause", "necessity", "all swapped"]
    assert [(row.block, row.label) for row in table.rows] == [("mean", "mdas"), ("A", "mdas"), ("B", "mdas")]
    check = means(finished)["complement", "all but the part"]
    (record,) = [r for r in finished.averages if (r.method, r.scope, r.partition, r.source_kind) == OWN]
    first = table.rows[0].cells
    assert [cell.value for cell in first] == [record.value("cause"), check.score, check.floor]
    assert [cell.interval for cell in first] == [
        record.interval("cause"),
        check.score_interval,
        check.floor_interval,
    ]
    assert "over entities and templates, not over fits" in table.notes[-1]
    assert (finished.folder / "tables" / "necessity.md").read_text("utf-8") == render(
        table_of_runs([finished.folder], "necessity"), "markdown"
    )
    assert "Cause and necessity" in (finished.folder / "report.html").read_text("utf-8")
    with pytest.raises(SuiteError, match="run the suite with --controls complement"):
        necessity_table([c for c in finished.controls if c.measure == "cause"], finished.averages, TRACK)


def test_checks_are_written_with_a_line_per_attribute_and_one_for_the_mean(finished: RunSummary) -> None:
    assert tuple(read_control_checks(finished.folder / CONTROL_CHECKS)) == finished.controls
    assert [c.attribute for c in finished.controls[:3]] == ["A", "B", EVERY_ATTRIBUTE]
    for check in finished.controls:
        assert check.score is not None
        assert check.floor is not None
        assert check.difference == pytest.approx(check.score - check.floor)
        assert check.at_floor == is_at_floor(check.difference, check.difference_interval)
        for cell in check.cells:
            header = read_json(finished.folder / "controls" / check.control / "cells" / cell / "cell.json")
            assert header["control"] == check.control


@unpublished
def test_controls_leave_the_grid_as_it_is(finished: RunSummary, tmp_path: Path) -> None:
    plain = run_suite(RunRequest(config(controls=[]), tmp_path / "run", engine=Counted(), instance=INSTANCE))
    assert own_files(plain.folder / "cells") == own_files(finished.folder / "cells")
    assert plain.scores == finished.scores
    assert plain.comparisons == finished.comparisons
    assert plain.averages == tuple(r for r in finished.averages if not is_control(r.method))
    assert not (plain.folder / CONTROL_CHECKS).exists()


@unpublished
def test_controls_may_be_added_and_taken_away(tmp_path: Path, finished: RunSummary) -> None:
    folder = tmp_path / "run"
    run_suite(RunRequest(config(controls=[]), folder, engine=Counted(), instance=INSTANCE))
    cells = own_files(folder / "cells")
    grown = run_suite(RunRequest(config(), folder, engine=Counted(), instance=INSTANCE))
    assert own_files(folder / "cells") == cells
    assert grown.controls == finished.controls
    assert own_files(folder) == own_files(finished.folder)
    less = run_suite(
        RunRequest(config(controls=["other_source"]), folder, engine=Counted(stop_after=0), instance=INSTANCE)
    )
    assert {check.control for check in less.controls} == {"other_source"}
    run_suite(RunRequest(config(controls=[]), folder, engine=Counted(stop_after=0), instance=INSTANCE))
    assert not (folder / CONTROL_CHECKS).exists()


@unpublished
@pytest.mark.parametrize("share", [0.6, 0.8, 0.97])
def test_a_killed_run_goes_on_to_the_same_bytes(
    finished: RunSummary, counted: Counted, tmp_path: Path, share: float
) -> None:
    stop_after = int(share * counted.calls)
    with pytest.raises(KeyboardInterrupt):
        run_suite(RunRequest(config(), tmp_path / "run", engine=Counted(stop_after), instance=INSTANCE))
    assert not (tmp_path / "run" / "scores.jsonl").exists()
    run_suite(RunRequest(config(), tmp_path / "run", engine=Counted(), instance=INSTANCE))
    assert own_files(tmp_path / "run") == own_files(finished.folder)


@unpublished
def test_a_finished_run_is_only_read(finished: RunSummary) -> None:
    before = own_files(finished.folder)
    engine = Counted(stop_after=0)
    assert run_suite(RunRequest(config(), finished.folder, engine=engine, instance=INSTANCE)) == finished
    assert own_files(finished.folder) == before


def test_a_run_with_controls_is_sound(finished: RunSummary) -> None:
    # The planted pairs are drawn by hand, and some stand twice; cells and scores must hold.
    problems = verify_artefact(finished.folder).problems
    assert [
        p
        for p in problems
        if p.startswith(("cell", "control", "scores", "averages", "config", "environment"))
    ] == []


def test_rows_are_set_apart_and_never_the_best(finished: RunSummary) -> None:
    table = main_table(finished.scores, finished.averages, comparisons=finished.comparisons)
    controls = [row for row in table.rows if is_control(row.label)]
    assert [row.label for row in controls] == [control_row("mdas", name) for name in WITHOUT_A_MODEL]
    assert table.rows[-4:] == tuple(controls)
    for row in controls:
        assert row.floor
        assert not any(cell.best or cell.vs_best or cell.vs_no_op for cell in row.cells)
    assert any("controls, which must fail" in note for note in table.notes)
    assert "*mdas\\~labels" in render(table, "markdown") or "*mdas~labels" in render(table, "markdown")
    assert not any(is_control(c.first) or is_control(c.second) for c in finished.comparisons)


def test_the_table_of_controls_says_who_is_where(finished: RunSummary) -> None:
    table = control_table(finished.controls)
    assert [column.name for column in table.columns] == ["without", "score", "floor", "score - floor"]
    check = means(finished)["other_source", "other sources"]
    row = next(row for row in table.rows if row.block == "other_source, other sources: cause")
    assert [cell.value for cell in row.cells] == [
        check.ordinary,
        check.score,
        check.floor,
        check.difference,
    ]
    assert row.detail == "context at its floor"
    for style in ("markdown", "latex", "csv", "html"):
        text = render(table, style)
        assert (finished.folder / "tables").is_dir()
        assert "other" in text
    assert (finished.folder / "tables" / "controls.md").read_text("utf-8") == render(table, "markdown")
    with pytest.raises(SuiteError, match="the run has no controls"):
        control_table([])


def test_the_page_has_a_block_of_controls_and_no_headline_of_theirs(finished: RunSummary) -> None:
    page = write_report(finished.folder).read_text("utf-8")
    assert '<section id="controls"' in page
    assert '<a href="#controls">' in page
    headline = page.split('<p class="headline">')[1].split("</p>")[0]
    assert "~" not in headline
    assert "mdas" in headline
    payload = page.split('id="report-data">')[1].split("</script>")[0]
    assert "~labels_shuffled" not in payload


def test_controls_are_a_family_of_their_own() -> None:
    assert family_of("mdas~labels_shuffled", ()) == CONTROLLED
    assert list(by_family(["mdas", "no_op", "mdas~other_source"], TRACK.floors)) == [
        "trained subspaces",
        "floors",
        CONTROLLED,
    ]
    assert TRACK.set_apart("no_op")
    assert TRACK.set_apart("lda~other_source")
    assert not TRACK.set_apart("lda")


# The rule, and what is said


@pytest.mark.parametrize(
    ("difference", "interval", "expected"),
    [
        (0.0, (0.0, 0.0), True),
        (0.05, (-0.01, 0.11), True),
        (-0.2, (-0.3, -0.1), True),
        (0.05, (0.01, 0.09), False),
        (0.01, None, False),
        (-0.01, None, True),
        (None, None, None),
    ],
)
def test_a_score_is_at_its_floor_if_the_interval_of_the_difference_reaches_it(
    difference: float | None, interval: tuple[float, float] | None, expected: bool | None
) -> None:
    assert is_at_floor(difference, interval) is expected


def check_of(**changes: Any) -> ControlCheck:
    """A check at its floor, with some fields changed."""
    fields: dict[str, Any] = {
        "control": "other_source",
        "method": "mdas",
        "attribute": EVERY_ATTRIBUTE,
        "generalisation": "context",
        "judged": "other sources",
        "measure": "cause",
        "score": 0.1,
        "score_interval": (0.05, 0.15),
        "floor": 0.125,
        "floor_interval": None,
        "floor_is": "chance",
        "difference": -0.025,
        "difference_interval": (-0.06, 0.01),
        "at_floor": True,
        "required": True,
        "ordinary": 0.75,
        "n": 40,
        "sites": ("block_output.0@entity_last",),
        "sizes": (2,),
        "seed": 0,
        "cells": ("0123",),
    }
    return ControlCheck(**(fields | changes))


def test_sentences_name_what_does_not_fail() -> None:
    fine, above = check_of(), check_of(method="das", score=0.5, at_floor=False)
    single = check_of(attribute="Country", at_floor=False)
    assert control_sentences([fine]) == [
        "mdas~other_source, context, other sources: cause 0.100 [0.050, 0.150] against 0.125, at its floor; "
        "without the control 0.750."
    ]
    assert "ABOVE ITS FLOOR" in control_sentences([above])[0]
    assert control_sentences([single])[-1].startswith("Of 1 checks of single attributes 1 are above")
    assert control_summary([fine, above, single])[0] == (
        "Controls: 1 of 3 scores that must be at their floor are."
    )
    assert "mdas~other_source, Country, context" in control_summary([fine, above, single])[2]
    optional = check_of(required=False, at_floor=False)
    assert control_summary([optional]) == [
        "Controls: 0 of 0 scores that must be at their floor are.",
        *control_sentences([optional]),
    ]
    assert control_summary([]) == []


def test_a_necessity_is_said_whether_it_is_above_its_floor_or_not() -> None:
    carrier = check_of(control="complement", measure=NECESSITY, score=0.9, at_floor=False, required=False)
    other = check_of(control="complement", measure=NECESSITY, at_floor=True, required=False)
    assert "against 0.125, above its floor, as it should be" in control_summary([carrier])[1]
    assert "against 0.125, no more than its floor" in control_summary([other])[1]
    assert not carrier.failed_to_fail


def test_the_table_of_necessity_says_which_fits_its_numbers_are_of() -> None:
    check = check_of(control="complement", measure=NECESSITY, required=False)
    table = necessity_table([check], [average_record(seeds=(0, 1))], TRACK)
    assert table.rows[0].cells[0].value == 0.75
    assert not any(cell.fewer for cell in table.rows[0].cells)
    assert table.notes[-1].endswith("of the fits with seed 0, cause the mean over seeds 0, 1.")


def test_a_foreign_row_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / CONTROL_CHECKS
    path.write_text('{"control": "other_source"}\n')
    with pytest.raises(SuiteError, match=r"the fields of a ControlCheck in .*, line 1"):
        read_control_checks(path)
    assert read_control_checks(tmp_path / "absent.jsonl") == []


# Plans


def test_all_stands_for_every_control_and_methods_are_those_that_learn_from_answers() -> None:
    resolved = resolve(config(controls=["all"]), INSTANCE, WORLD.target)
    assert resolved.controls == tuple(CONTROLS.names())
    assert resolved.control_methods == ("mdas",)
    assert resolve(resolved, INSTANCE, WORLD.target) == resolved
    assert SuiteConfig.from_yaml(resolved.to_yaml()) == resolved
    assert resolve(config(controls=[]), INSTANCE, WORLD.target).control_methods is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"controls": ["label_shuffled"]}, "did you mean 'labels_shuffled'"),
        ({"control_methods": ["das"]}, "a known method of this suite to be controlled"),
        ({"methods": ["no_op"]}, "a method that learns from answers, for the suite lists controls"),
    ],
)
def test_wrong_controls_are_refused_before_anything_is_written(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(SuiteError, match=message):
        run_suite(RunRequest(config(**change), tmp_path / "run", engine=Counted(), instance=INSTANCE))
    assert not (tmp_path / "run").exists()


def test_cells_of_controls_have_ids_of_their_own_and_those_of_the_grid_keep_theirs() -> None:
    plans = [
        plan_cells(resolve(config(controls=c), INSTANCE, WORLD.target), INSTANCE, WORLD.target)
        for c in ([], list(WITHOUT_A_MODEL))
    ]
    assert plans[0] == plans[1]
    made = [control_cell(cell, name) for cell in plans[0] for name in WITHOUT_A_MODEL]
    ids = {cell.cell_id for cell in made}
    assert len(ids) == len(made)
    assert not ids & {cell.cell_id for cell in plans[0]}
    assert made[0].label().startswith("mdas~complement A ")


@unpublished
def test_a_method_that_learns_from_no_answers_is_a_hole_where_answers_are_shuffled(tmp_path: Path) -> None:
    suite = config(
        methods=["random_subspace"],
        sizes=[2],
        controls=["labels_shuffled", "other_source"],
        control_methods=["random_subspace"],
    )
    found = run_suite(RunRequest(suite, tmp_path / "run", engine=Counted(), instance=INSTANCE))
    assert {check.control for check in found.controls} == {"other_source"}
    assert {(r.method, r.attribute) for r in found.refusals} == {
        ("random_subspace~labels_shuffled", "A"),
        ("random_subspace~labels_shuffled", "B"),
    }
    assert "learns from none" in found.refusals[0].reason
