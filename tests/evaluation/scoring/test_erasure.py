"""Forget, keep and isolate of erasure: hand-computed numbers, the choice of strengths, the cases."""

from __future__ import annotations

import pytest
from planted_world import PlantedWorld

from evaluation.records.outcomes.erasures import Erasure
from evaluation.scoring.clusters import clusters_of
from evaluation.scoring.erasure.cases import erased_cases
from evaluation.scoring.erasure.estimates import MEASURES, chosen_strengths, estimate_erasure
from evaluation.scoring.steering.harmonic import harmonic_mean
from ravel.instance import concepts_of

STRENGTHS = (0.5, 1.0, 2.0)


def outcome(
    number: int, asked: str, has: bool, *same: bool, value: str = "v", template: str = "t"
) -> Erasure:
    """An outcome at as many strengths as there are answers."""
    case = f"p{number}-{asked}-{has}-{template}>A"
    identity = (case, "A", value, has, asked, template, f"e{number}")
    return Erasure(*identity, STRENGTHS[: len(same)], same, 0)


def test_measures_are_means_over_templates_then_attributes() -> None:
    outcomes = [
        *(outcome(n, "A", True, n > 0, template="t") for n in range(4)),
        *(outcome(n, "A", True, False, template="u") for n in range(2)),
        *(outcome(n, "A", False, n > 10) for n in range(10, 14)),
        *(outcome(n, "B", True, True) for n in range(4)),
        *(outcome(n, "C", True, n > 1) for n in range(4)),
    ]
    found = estimate_erasure(outcomes, "A", clusters_of(outcomes))
    # (1/4 + 1) / 2, 3/4, (1 + 1/2) / 2.
    assert [found[name].value for name in MEASURES[:3]] == pytest.approx([0.625, 0.75, 0.75])
    assert found["overall"].value == pytest.approx(harmonic_mean([0.625, 0.75, 0.75]))
    assert tuple(found) == MEASURES
    for one in found.values():
        low, high = one.interval or (1.0, 0.0)
        assert 0 <= low < (one.value or 0) < high <= 1


def test_without_prompts_of_each_kind_there_is_no_score() -> None:
    kinds = [outcome(0, "A", True, False), outcome(1, "A", False, True), outcome(2, "B", True, True)]
    for left_out in range(3):
        some = [one for place, one in enumerate(kinds) if place != left_out]
        assert estimate_erasure(some, "A", clusters_of(kinds))["overall"].value is None
    assert estimate_erasure(kinds, "A", clusters_of(kinds))["overall"].value == 1.0


def test_each_value_has_the_strength_with_the_best_overall() -> None:
    outcomes = [
        *(outcome(n, "A", True, True, False, False) for n in range(4)),
        *(outcome(n, "A", False, True, True, False) for n in range(4)),
        *(outcome(n, "B", True, True, True, False) for n in range(4)),
        outcome(9, "B", True, True, True, True, value="w"),
    ]
    # A value without prompts of each kind is given what all are given together.
    assert chosen_strengths(outcomes) == {"v": 1, "w": 1}


def test_cases_erase_what_the_entity_has_or_leave_it_alone() -> None:
    instance = PlantedWorld(3, n_entities=160).instance(n_pairs=200, n_held_out=60)
    cases = erased_cases(instance, "context_test")
    assert len({case.case for case in cases}) == len(cases)
    kinds = {(case.attribute == case.target, case.has) for case in cases}
    assert kinds == {(True, True), (True, False), (False, True)}
    for case in cases:
        label = instance.prompt(case.case.partition(">")[0]).label.strip()
        assert case.value in concepts_of(instance, case.target).values
        if case.attribute == case.target:
            assert (label == case.value) == case.has


def test_verdicts_that_can_not_be_are_told() -> None:
    good = outcome(0, "A", True, True, False)
    assert good.fault() is None
    row = good.to_json()
    for change in ({"chosen": 2}, {"chosen": -1}, {"said_unchanged": [True]}):
        assert Erasure.from_json({**row, **change}, origin="here").fault()
