"""Cause, isolate, fluency and overall of steering: hand-computed numbers, a slow plain way, the choice of
strengths."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evaluation.records.outcomes.steerings import Steering
from evaluation.scoring.clusters import clusters_of
from evaluation.scoring.steering.estimates import (
    MEASURES,
    chosen_strengths,
    estimate_steering,
    fluency_of,
    strength_curve,
)
from evaluation.scoring.steering.harmonic import harmonic_mean

STREAM = np.random.default_rng(7)
STRENGTHS = (0.5, 1.0, 2.0)


def outcome(
    number: int,
    asked: str,
    *,
    said: tuple[int, ...],
    nats: float = 0.0,
    value: str = "v",
    template: str = "t",
    chosen: int = 0,
) -> Steering:
    """An outcome at as many strengths as `said` has entries: 1 the value's answer, 0 neither, -1 the own."""
    return Steering(
        f"p{number}-{asked}-{template}>A",
        "A",
        value,
        asked,
        template,
        f"e{number}",
        STRENGTHS[: len(said)],
        tuple(one == 1 for one in said),
        tuple(one == -1 for one in said),
        (nats,) * len(said),
        chosen,
    )


def test_harmonic_means_are_those_of_axbench() -> None:
    assert harmonic_mean([2, 1, 1]) == pytest.approx(1.2)
    assert harmonic_mean([0.8, 0.6, 0.9]) == pytest.approx(0.744828, abs=5e-7)
    assert harmonic_mean([0.0, 1.0, 1.0]) == 0.0
    assert harmonic_mean([0.5, 0.5, 0.5]) == pytest.approx(0.5)


def test_an_answer_that_costs_no_more_is_fluent() -> None:
    assert [fluency_of(extra) for extra in (-2.0, 0.0)] == [1.0, 1.0]
    assert fluency_of(math.log(2)) == pytest.approx(0.5)


def test_measures_are_means_over_templates_then_attributes() -> None:
    outcomes = [
        *(outcome(n, "A", said=(1,), template="t") for n in range(3)),
        outcome(3, "A", said=(-1,), template="t", nats=math.log(2)),
        *(outcome(n, "A", said=(n % 2,), template="u") for n in range(4)),
        *(outcome(n, "B", said=(-1,)) for n in range(4)),
        *(outcome(n, "C", said=(-(n % 2),)) for n in range(4)),
    ]
    found = estimate_steering(outcomes, "A", clusters_of(outcomes))
    assert tuple(found) == MEASURES
    # (3/4 + 2/4) / 2, (1 + 1/2) / 2, ((7/8 + 1) / 2 + 1 + 1) / 3.
    assert found["cause"].value == pytest.approx(0.625)
    assert found["isolate"].value == pytest.approx(0.75)
    assert found["fluency"].value == pytest.approx((0.9375 + 2) / 3)
    assert found["overall"].value == pytest.approx(harmonic_mean([0.625, 0.75, (0.9375 + 2) / 3]))
    assert [found[name].n for name in MEASURES] == [8, 8, 16, None]
    for one in found.values():
        low, high = one.interval or (1.0, 0.0)
        assert 0 <= low < (one.value or 0) < high <= 1


def test_of_nothing_steered_there_is_no_score() -> None:
    own = [outcome(n, "A", said=(1,)) for n in range(3)]
    others = [outcome(n, "B", said=(-1,)) for n in range(3)]
    for some in ([], own, others):
        found = estimate_steering(some, "A", clusters_of([*own, *others]))
        assert {one.value for one in found.values()} == {None}
    assert estimate_steering([*own, *others], "B", clusters_of([*own, *others]))["overall"].value is None


@pytest.mark.parametrize("said", [0, 1])
def test_at_the_ends_intervals_have_a_width(said: int) -> None:
    outcomes = [outcome(n, "A", said=(said,)) for n in range(6)]
    outcomes += [outcome(n, "B", said=(-1,)) for n in range(6)]
    found = estimate_steering(outcomes, "A", clusters_of(outcomes))
    assert found["overall"].value == float(said)
    for one in found.values():
        low, high = one.interval or (0.0, 0.0)
        assert 0 <= low < high <= 1


def drawn(n: int) -> list[Steering]:
    return [
        outcome(
            k,
            asked,
            said=tuple(STREAM.integers(-1, 2, 3).tolist()),
            nats=float(STREAM.exponential()),
            value="vw"[k % 2],
        )
        for k in range(n)
        for asked in ("A", "B")
    ]


def test_overall_moves_with_its_parts() -> None:
    outcomes = [*drawn(60), *(outcome(99, asked, said=(one,)) for asked, one in (("A", 1), ("B", -1)))]
    found = estimate_steering(outcomes, "A", clusters_of(outcomes))
    values = [found[name].value or 0.0 for name in MEASURES[:3]]
    step, wanted = 1e-6, 0.0
    for place, name in enumerate(MEASURES[:3]):
        moved = [value + step * (i == place) for i, value in enumerate(values)]
        slope = (harmonic_mean(moved) - harmonic_mean(values)) / step
        spread = found[name].spread
        assert spread is not None
        wanted = wanted + slope * spread.splits[0].within
    whole = found["overall"].spread
    assert whole is not None
    assert np.allclose(wanted, whole.splits[0].within, rtol=1e-3, atol=1e-9)


def test_each_value_has_the_strength_with_the_best_overall() -> None:
    outcomes = drawn(40)
    chosen = chosen_strengths(outcomes)
    assert set(chosen) == {"v", "w"}
    for value, place in chosen.items():
        own = [o for o in outcomes if o.value == value]
        overall = []
        for i in range(3):
            cause = [o.said_value[i] for o in own if o.attribute == "A"]
            isolate = [o.said_unchanged[i] for o in own if o.attribute == "B"]
            fluency = [fluency_of(o.extra_nats[i]) for o in own]
            overall.append(harmonic_mean([float(np.mean(part)) for part in (cause, isolate, fluency)]))
        assert place == int(np.argmax(overall))
        assert [point["overall"] for point in strength_curve(own)] == pytest.approx(overall)


def test_equal_strengths_go_to_the_smallest_and_a_lone_value_to_all() -> None:
    alike = [outcome(n, asked, said=(1, 1) if asked == "A" else (-1, -1)) for n in range(3) for asked in "AB"]
    assert chosen_strengths(alike) == {"v": 0}
    better = [
        outcome(n, asked, said=(0, 1) if asked == "A" else (-1, -1)) for n in range(3) for asked in "AB"
    ]
    # A value of which no prompt asks for the attribute is steered as all are together.
    alone = outcome(9, "B", said=(-1, -1), value="w")
    assert chosen_strengths([*better, alone]) == {"v": 1, "w": 1}
    assert chosen_strengths([alone]) == {"w": 0}


def test_verdicts_that_can_not_be_are_told() -> None:
    good = outcome(0, "A", said=(1, 0), chosen=1).to_json()
    for change, said in (
        ({"chosen": 2}, "the strength number 2 of 2"),
        ({"chosen": -1}, "the strength number -1 of 2"),
        ({"extra_nats": [0.0]}, "answers at other strengths"),
        ({"said_unchanged": [True, False]}, "two answers at once"),
    ):
        found = Steering.from_json({**good, **change}, origin="here")
        assert said in (found.fault() or "")
    assert Steering.from_json(good, origin="here").fault() is None
