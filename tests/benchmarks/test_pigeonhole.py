"""The bootstrap of the benchmarks: draws are scores of resampled outcomes, percentiles and tails scipy's."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outcome_world import noisy, outcome, rectangle
from pigeonhole import Resamples, draw_resamples, draws_of, interval, p_value
from scipy import stats

from evaluation.records.scores import Outcome
from evaluation.scoring.clusters import clusters_of
from evaluation.scoring.interchange.estimates import count
from evaluation.scoring.interchange.metrics import scores

NOISY = rectangle(noisy("A", cause=0.6, isolate=0.8, seed=1))


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_resample_that_draws_everything_once_gives_the_score() -> None:
    clusters = clusters_of(NOISY)
    once = Resamples(clusters, np.ones((1, len(clusters.entities))), np.ones((1, len(clusters.templates))))
    draws, point = draws_of(count(NOISY, "A", clusters), "A", once), scores(NOISY, "A")
    found = [draws.cause[0], draws.isolate[0], draws.disentangle[0]]
    assert found == pytest.approx([point.cause, point.isolate, point.disentangle])


def test_each_draw_is_the_score_of_the_resampled_outcomes() -> None:
    """Each pair repeated by the product of its multiplicities, then scored by the plain functions."""
    lopsided = NOISY[:17] + NOISY[40:100:3] + NOISY[100:]
    clusters = clusters_of(lopsided)
    resamples = draw_resamples(clusters, 8, generator(3))
    draws = draws_of(count(lopsided, "A", clusters), "A", resamples)
    for i in range(8):
        entity = dict(zip(clusters.entities, resamples.entity_counts[i], strict=True))
        template = dict(zip(clusters.templates, resamples.template_counts[i], strict=True))
        repeated = _repeat(lopsided, entity, template)
        assert draws.cause[i] == pytest.approx(scores(repeated, "A").cause)
        assert draws.isolate[i] == pytest.approx(scores(repeated, "A").isolate)


def _repeat(
    outcomes: list[Outcome], entity: dict[str, float], template: dict[tuple[str, str], float]
) -> list[Outcome]:
    """A template drawn twice counts as two templates, an entity drawn twice as two entities."""
    repeated = []
    for o in outcomes:
        for copy in range(int(template[o.attribute, o.base_template])):
            name = f"{o.base_template} copy {copy}"
            one = outcome(o.attribute, name, o.base_entity, "swapped" if o.said_swapped else "neither")
            if o.said_unchanged:
                one = outcome(o.attribute, name, o.base_entity, "unchanged")
            repeated += [one] * int(entity[o.base_entity])
    return repeated


def test_multiplicities_add_up_over_entities_and_within_each_attribute() -> None:
    clusters = clusters_of(NOISY)
    resamples = draw_resamples(clusters, 50, generator())
    assert (resamples.entity_counts.sum(axis=1) == len(clusters.entities)).all()
    sizes = Counter(attribute for attribute, _ in clusters.templates)
    for attribute, size in sizes.items():
        columns = [i for i, (a, _) in enumerate(clusters.templates) if a == attribute]
        assert (resamples.template_counts[:, columns].sum(axis=1) == size).all()


def test_draws_that_miss_a_needed_pair_are_left_out() -> None:
    lone = [outcome("A", "A1", "e0", "swapped"), *(o for o in NOISY if o.attribute == "B")]
    clusters = clusters_of(lone)
    draws = draws_of(count(lone, "A", clusters), "A", draw_resamples(clusters, 1000, generator())).cause
    assert np.isnan(draws).any()
    assert interval(draws) == (1.0, 1.0)
    assert interval(np.full(1000, np.nan)) is None


def test_p_values_are_normal_tails() -> None:
    draws = np.random.default_rng(0).normal(0.3, 0.1, size=4000)
    expected = 2 * stats.norm.sf(0.3 / draws.std(ddof=1))
    assert p_value(0.3, draws) == pytest.approx(expected, rel=1e-9)
    assert p_value(0.0, np.zeros(100)) == 1.0
    assert p_value(0.2, np.full(100, 0.2)) == 0.0
    assert p_value(None, draws) is None
    assert p_value(0.1, np.full(100, np.nan)) is None


@given(st.floats(-5, 5), st.integers(0, 10**6), st.integers(50, 300))
@settings(max_examples=40, deadline=None)
def test_p_values_and_percentiles_are_those_of_scipy(difference: float, seed: int, size: int) -> None:
    draws = np.random.default_rng(seed).normal(difference, 1.0, size)
    wanted = 2 * stats.norm.sf(abs(difference) / stats.tstd(draws))
    assert p_value(difference, draws) == pytest.approx(wanted, rel=1e-9, abs=1e-12)
    limits = stats.mstats.mquantiles(draws, [0.025, 0.975], alphap=1, betap=1)
    assert interval(draws) == pytest.approx(tuple(limits), abs=1e-12)
