"""Twins on random weights: which methods have one, without being asked, and what is told of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_world import FAST, World, ravel, suite_text
from planted_world import SITE, PlantedWorld

from das.methods.registry import METHODS
from evaluation.config.suite import TWIN, SuiteConfig
from evaluation.records.control_checks import (
    DIVERSITY,
    EVERY_ATTRIBUTE,
    ControlCheck,
    TwinDiversity,
    control_sentences,
    control_summary,
)
from evaluation.report.tables.controls import control_table, twin_notes
from evaluation.suite.controls import CONTROLS
from evaluation.suite.forecast.cost import control_cells
from evaluation.suite.grid import plan_cells, resolve
from evaluation.verify.folders import verify_artefact
from ravel.common.errors import SuiteError

WORLD = PlantedWorld(0, n_entities=120)
INSTANCE = WORLD.instance(n_pairs=200, n_held_out=120)


def resolved(**changes: Any) -> SuiteConfig:
    fields: dict[str, Any] = {"instance": "here", "sites": [str(SITE)], "sizes": [2], "seeds": [0]}
    config = SuiteConfig.from_mapping(fields | changes, origin="a test")
    return resolve(config, INSTANCE, WORLD.target)


def test_a_map_that_is_not_linear_has_a_twin_and_others_on_request() -> None:
    plain = resolved(methods=["mdas"])
    assert (plain.twins, plain.carried_out_controls(), plain.methods_under(TWIN)) == ((), (), ())
    assert "twins" not in plain.to_yaml()
    bent = resolved(methods=["mdas", "nonlinear_das"])
    assert bent.twins == ("nonlinear_das",)
    assert bent.carried_out_controls() == (TWIN,)
    assert SuiteConfig.from_yaml(bent.to_yaml()) == bent
    assert resolve(bent, INSTANCE, WORLD.target) == bent
    asked = resolved(methods=["nonlinear_das", "mdas", "das"], twins=["mdas"], controls=["complement"])
    assert asked.twins == ("nonlinear_das", "mdas")
    assert asked.carried_out_controls() == ("complement", TWIN)
    assert asked.methods_under("complement") == ("nonlinear_das", "mdas", "das")
    assert asked.methods_under(TWIN) == ("nonlinear_das", "mdas")
    assert resolved(methods=["das", "mdas"], controls=[TWIN], twins=["mdas"]).methods_under(TWIN) == (
        "das",
        "mdas",
    )
    with pytest.raises(SuiteError, match="to be fitted to random weights"):
        resolved(methods=["mdas"], twins=["das"])


def test_a_twin_is_planned_and_a_method_that_needs_one_says_so() -> None:
    config = resolved(methods=["mdas", "nonlinear_das"])
    planned = control_cells(plan_cells(config, INSTANCE, WORLD.target), config)
    assert [(name, cell.method, cell.attribute) for name, cell in planned] == [
        (TWIN, "nonlinear_das", "A"),
        (TWIN, "nonlinear_das", "B"),
    ]
    assert CONTROLS.get(TWIN).refits
    assert [method.name for method in METHODS if method.fits_nonlinear_map] == ["nonlinear_das"]


@pytest.fixture(scope="module")
def run(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that asks for no control, of a method that has a twin and one that has none."""
    root = tmp_path_factory.mktemp("twins")
    suite = root / "suite.yaml"
    methods = [{"name": name, "config": FAST} for name in ("mdas", "nonlinear_das")]
    suite.write_text(suite_text(world, methods=methods, generalisations=["context"]))
    planned = ravel("run", suite, "--out", root / "run", "--plan")
    assert "and 2 cells of controls" in planned.output, planned.output
    done = ravel("run", suite, "--out", root / "run")
    assert done.exit_code == 0, done.output
    assert "nonlinear_das~untrained_model, context, swapped states: diversity" in " ".join(
        done.output.split()
    )
    return root / "run"


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_twin_is_run_without_being_asked_for_and_told_with_its_diversity(run: Path) -> None:
    checks = rows(run / "control_checks.jsonl")
    assert {(row["control"], row["method"]) for row in checks} == {(TWIN, "nonlinear_das")}
    means = {row["measure"]: row for row in checks if row["attribute"] == EVERY_ATTRIBUTE}
    assert set(means) == {"cause", "isolate", DIVERSITY}
    ratio = means[DIVERSITY]
    assert ratio["score"] > 0
    assert ratio["ordinary"] > 0
    assert (ratio["floor"], ratio["required"], ratio["at_floor"]) == (None, False, None)
    assert means["cause"]["required"]
    single = [row for row in checks if row["measure"] == DIVERSITY and row["attribute"] != EVERY_ATTRIBUTE]
    # An attribute of which no answer is wanted three times has no ratio.
    known = [row["score"] for row in single if row["score"] is not None]
    assert 0 < len(known) < len(single)
    assert ratio["score"] == pytest.approx(sum(known) / len(known))


def test_tables_tell_of_the_twin(run: Path) -> None:
    main = (run / "tables" / "main.md").read_text().replace("\\", "")
    assert "nonlinear_das~untrained_model" in main
    assert "nonlinear_das fitted to random weights: context: cause 0." in main
    assert "mdas fitted" not in main
    controls = (run / "tables" / "controls.md").read_text().replace("\\", "")
    assert "untrained_model, swapped states: diversity" in controls
    assert "one state per answer" in controls


def test_such_a_run_is_sound_and_has_no_angle_of_what_is_not_linear(run: Path) -> None:
    assert verify_artefact(run).problems == ()
    assert {row["method"] for row in rows(run / "plots" / "angles.jsonl")} == {"mdas"}


def test_ratios_are_not_measured_again(run: Path) -> None:
    (path, other) = sorted(run.glob("controls/*/cells/*/diversity.jsonl"))
    assert max(row.n for one in (path, other) for row in TwinDiversity.read(one)) > 0
    before = path.stat().st_mtime_ns
    assert ravel("run", run / "config.yaml", "--out", run).exit_code == 0
    assert path.stat().st_mtime_ns == before


def check(measure: str, **changes: Any) -> ControlCheck:
    fields: dict[str, Any] = {
        **{"control": TWIN, "method": "nonlinear_das", "attribute": EVERY_ATTRIBUTE, "measure": measure},
        **{"generalisation": "context", "judged": "here", "floor_is": "none", "seed": 0, "n": 12},
        **{"score": 0.5, "score_interval": None, "floor": 0.1, "floor_interval": None},
        **{"difference": 0.4, "difference_interval": None, "at_floor": False, "required": True},
        **{"ordinary": 0.9, "sites": ("s",), "sizes": (2,), "cells": ("c",)},
    }
    return ControlCheck(**fields | changes)


RATIO = {"floor": None, "difference": None, "at_floor": None, "required": False}


def test_what_is_said_of_a_twin_in_words() -> None:
    ratio = check(DIVERSITY, score=0.02, **RATIO)
    checks = [check("cause"), ratio]
    assert ratio.verdict == "has no floor"
    assert not ratio.failed_to_fail
    assert twin_notes(checks) == [
        "nonlinear_das fitted to random weights: context: cause 0.500, its floor 0.100, "
        "diversity ratio 0.020 (0.900 in the model itself)."
    ]
    assert twin_notes([check("cause")]) == []
    said = "nonlinear_das~untrained_model, context, here: diversity 0.020; without the control 0.900."
    assert control_sentences(checks)[1] == said
    assert control_summary(checks)[0] == "Controls: 0 of 1 scores that must be at their floor are."
    assert control_summary(checks)[-1] == said
    unknown = check(DIVERSITY, score=None, ordinary=None, **RATIO)
    assert "diversity unknown; without the control unknown." in control_sentences([unknown])[0]
    table = control_table(checks)
    assert [row.block for row in table.rows] == [
        "untrained_model, here: cause",
        "untrained_model, here: diversity",
    ]
    assert sum("Floor of" in note for note in table.notes) == 1
