"""The simulation of intervals: its truth is true, counts are scored as outcomes are, and intervals hold."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from simulated import (
    Counts,
    Effects,
    Setting,
    Split,
    answer,
    draw_chances,
    draw_counts,
    draw_split,
    scores_of,
    templates_fixed,
)

from evaluation.records.scores import Outcome
from evaluation.scoring.interchange.estimates import estimate_scores
from evaluation.scoring.interchange.metrics import scores


def load_script() -> ModuleType:
    """Load the script from its file: its name is also that of an installed package."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "coverage.py"
    spec = importlib.util.spec_from_file_location("coverage_script", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


script = load_script()
STRONG = Setting("context", 4, 60, 3, 96, 0.5, 0.9, script.STRONG)
LOGIT_AND_PROBIT = [STRONG, replace(STRONG, link="probit", effects=Effects("strong", 0.6, 0.3, 0.5))]


def stream(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def as_outcomes(counts: Counts, split: Split, target: str) -> list[Outcome]:
    outcomes = []
    for row, entity in enumerate(split.clusters.entities):
        for column, (attribute, template) in enumerate(split.clusters.templates):
            for number in range(int(counts.pairs[row, column])):
                right = number < counts.right[row, column]
                name = f"{entity}-{attribute}-{template}-{number}"
                said = (right, False) if attribute == target else (False, right)
                outcomes.append(Outcome(name, attribute, template, entity, "s", "same_attribute", *said))
    return outcomes


def test_counts_are_scored_as_the_outcomes_that_they_count() -> None:
    split = draw_split(STRONG, stream())
    counts, _ = draw_counts(STRONG, split, stream(1))
    outcomes = as_outcomes(counts, split, "a0")
    assert scores_of(counts, STRONG).cause == pytest.approx(scores(outcomes, "a0").cause)
    ours, theirs = (
        script.estimated(counts, STRONG, split.clusters),
        estimate_scores(outcomes, "a0", split.clusters),
    )
    assert ours["disentangle"].value == pytest.approx(theirs["disentangle"].value)
    assert ours["disentangle"].interval == pytest.approx(theirs["disentangle"].interval)


@pytest.mark.parametrize("setting", LOGIT_AND_PROBIT)
def test_the_stated_accuracy_is_the_mean_over_many_entities_and_templates(setting: Setting) -> None:
    large = replace(setting, attributes=2, entities=300, templates=200, pairs=20_000)
    split = draw_split(large, stream())
    found = [
        scores_of(answer(large, split, draw_chances(large, split, 0, stream(s)), stream(s)), large)
        for s in (1, 2)
    ]
    assert np.mean([s.cause for s in found]) == pytest.approx(0.5, abs=0.03)
    assert np.mean([s.isolate for s in found]) == pytest.approx(0.9, abs=0.03)


def test_without_effects_the_templates_at_hand_are_like_all_others() -> None:
    plain = replace(STRONG, effects=script.NONE)
    chances = draw_chances(plain, draw_split(plain, stream()), 0, stream())
    assert templates_fixed(plain, chances).cause == pytest.approx(plain.truth.cause)
    assert templates_fixed(plain, chances).isolate == pytest.approx(plain.truth.isolate)


@pytest.mark.parametrize("effects", [script.NONE, script.STRONG])
def test_intervals_hold_the_truth_in_about_95_of_100_sets(effects: Effects) -> None:
    """Of 150 sets, a share of 93 % has a standard error of 2 %: below 86 % is no chance."""
    setting = replace(STRONG, effects=effects, templates=6)
    found = script.measure_coverage(setting, 150, 1, seed=0)["scores"]
    for score in script.SCORES:
        assert found[score]["coverage"]["value"] >= 0.87
        assert found[score]["missing"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("templates", [3, 6])
def test_intervals_keep_their_level_where_percentiles_do_not(templates: int) -> None:
    setting = replace(STRONG, templates=templates, pairs=256, entities=150)
    found = script.measure_coverage(setting, 1000, 300, seed=0)["scores"]
    for score in script.SCORES:
        assert 0.915 <= found[score]["coverage"]["value"] <= 0.985
    if templates == 3:
        assert found["cause"]["percentile_coverage"]["high"] < 0.93


@pytest.mark.parametrize("null", script.NULLS)
def test_equal_methods_are_rarely_found_to_differ(null: str) -> None:
    """Of 120 sets, 5 % are 6; 15 is four standard errors more."""
    found = script.measure_errors(STRONG, null, 2, 120, 1, seed=0)
    assert found["rejected"]["value"] <= 15 / 120


def test_a_share_has_wilsons_interval() -> None:
    found = script.share(5, 50)
    assert (found["value"], found["of"]) == (0.1, 50)
    assert (found["low"], found["high"]) == pytest.approx((0.0434, 0.2136), abs=1e-4)


def test_tables_and_drawing_come_from_the_figures_alone(tmp_path: Path) -> None:
    coverage = [script.measure_coverage(replace(STRONG, templates=t), 4, 2, seed=0) for t in (3, 1)]
    coverage.append(script.measure_coverage(replace(STRONG, effects=script.NONE), 4, 2, seed=0))
    found = {
        "quick": True,
        "sets": 4,
        "percentile_sets": 2,
        "resamples": script.RESAMPLES,
        "environment": {"python": "3", "numpy": "2"},
        "coverage": coverage,
        "errors": [script.measure_errors(STRONG, "same chances", 1, 4, 2, seed=0)],
        "families": [script.measure_families(STRONG, 2, seed=0)],
    }
    again = json.loads(json.dumps(found))
    assert script.pages(found) == script.pages(again)
    assert "| context | 3 | 0.5 / 0.9 | strong |" in script.pages(found)["coverage"]
    script.draw(again, tmp_path / "coverage.png")
    assert (tmp_path / "coverage.png").stat().st_size > 1000
    assert (tmp_path / "coverage.svg").exists()
