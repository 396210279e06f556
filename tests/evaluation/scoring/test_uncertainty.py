"""Draws agree with the scores and with a slow plain version, intervals with known spreads and limits."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
import pytest
from outcome_world import constant, noisy, outcome, rectangle
from scipy import stats

from evaluation.records.scores import Outcome
from evaluation.scoring.intervals import (
    Resamples,
    clusters_of,
    draw_resamples,
    interval,
    intervals_of,
    paired_difference,
    sample_scores,
)
from evaluation.scoring.metrics import scores
from ravel.common.errors import SuiteError

NOISY = rectangle(noisy("A", cause=0.6, isolate=0.8, seed=1))


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_resample_that_draws_everything_once_gives_the_score() -> None:
    clusters = clusters_of(NOISY)
    once = Resamples(clusters, np.ones((1, len(clusters.entities))), np.ones((1, len(clusters.templates))))
    sampled, point = sample_scores(NOISY, "A", once), scores(NOISY, "A")
    assert sampled.point == point
    found = [sampled.draws.cause[0], sampled.draws.isolate[0], sampled.draws.disentangle[0]]
    assert found == pytest.approx([point.cause, point.isolate, point.disentangle])


def test_each_draw_is_the_score_of_the_resampled_outcomes() -> None:
    """Each pair repeated by the product of its multiplicities, then scored by the plain functions."""
    lopsided = NOISY[:17] + NOISY[40:100:3] + NOISY[100:]
    clusters = clusters_of(lopsided)
    resamples = draw_resamples(clusters, 8, generator(3))
    sampled = sample_scores(lopsided, "A", resamples)
    for i in range(8):
        entity = dict(zip(clusters.entities, resamples.entity_counts[i], strict=True))
        template = dict(zip(clusters.templates, resamples.template_counts[i], strict=True))
        repeated = _repeat(lopsided, entity, template)
        assert sampled.draws.cause[i] == pytest.approx(scores(repeated, "A").cause)
        assert sampled.draws.isolate[i] == pytest.approx(scores(repeated, "A").isolate)


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


@pytest.mark.parametrize(("rule", "cause"), [("unchanged", 0.0), ("swapped", 1.0)])
def test_a_score_on_which_all_pairs_agree_is_near_certain_but_not_certain(rule: str, cause: float) -> None:
    """Wilson's limit of 0 of n is z^2 / (n + z^2), about four over n; the rule of three is for one side."""
    found = intervals_of(rectangle(constant(rule)), "A")
    z_squared = stats.norm.ppf(0.975) ** 2
    few, many = z_squared / (48 + z_squared), z_squared / (96 + z_squared)
    ends = {0.0: (0.0, few), 1.0: (1 - few, 1.0)}[cause]
    others = {0.0: (1 - many, 1.0), 1.0: (0.0, many)}[cause]
    assert found.cause == pytest.approx(ends)
    assert found.isolate == pytest.approx(others)
    assert found.disentangle is not None
    assert found.disentangle[0] < 0.5 < found.disentangle[1]
    assert found.disentangle[1] - found.disentangle[0] < few + many


def test_the_order_of_outcomes_changes_nothing_and_nothing_is_drawn() -> None:
    forward = intervals_of(NOISY, "A")
    assert intervals_of(NOISY[::-1], "A") == forward
    clusters = clusters_of(NOISY)
    for seed, number in ((5, 40), (6, 3)):
        resamples = draw_resamples(clusters, number, generator(seed))
        assert sample_scores(NOISY, "A", resamples).intervals() == forward


def test_the_interval_holds_the_score_and_narrows_with_more_clusters() -> None:
    def width(n_entities: int, n_templates: int) -> float:
        rule = noisy("A", cause=0.5, isolate=0.5, seed=2)
        outcomes = rectangle(rule, n_entities=n_entities, n_templates=n_templates)
        found, point = intervals_of(outcomes, "A").cause, scores(outcomes, "A").cause
        assert found is not None
        assert point is not None
        assert found[0] <= point <= found[1]
        return found[1] - found[0]

    assert width(80, 20) < 0.6 * width(20, 5)


def test_entities_that_succeed_together_widen_the_interval() -> None:
    """Sixteen pairs an entity, all alike, are as uncertain as one pair an entity."""
    lucky = rectangle(
        lambda a, t, e: "swapped" if int(e[1:]) % 2 else "neither", n_entities=40, n_templates=16
    )
    mixed = rectangle(noisy("A", cause=0.5, isolate=0.5, seed=0), n_entities=40, n_templates=16)
    wide = intervals_of(lucky, "A").cause
    narrow = intervals_of(mixed, "A").cause
    assert wide is not None
    assert narrow is not None
    assert wide[1] - wide[0] == pytest.approx(4 * (0.25 / 40) ** 0.5, rel=0.15)
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])


def test_without_pairs_there_is_no_interval() -> None:
    only_a = [o for o in NOISY if o.attribute == "A"]
    found = intervals_of(only_a, "A")
    assert found.cause is not None
    assert (found.isolate, found.disentangle) == (None, None)
    assert intervals_of([], "A").cause is None


def test_draws_that_miss_a_needed_pair_are_left_out() -> None:
    lone = [outcome("A", "A1", "e0", "swapped"), *(o for o in NOISY if o.attribute == "B")]
    resamples = draw_resamples(clusters_of(lone), 1000, generator())
    draws = sample_scores(lone, "A", resamples).draws.cause
    assert np.isnan(draws).any()
    assert interval(draws) == (1.0, 1.0)
    assert interval(np.full(1000, np.nan)) is None


def test_a_single_pair_says_little() -> None:
    lone = [outcome("A", "A1", "e0", "swapped"), *(o for o in NOISY if o.attribute == "B")]
    found = intervals_of(lone, "A").cause
    assert found is not None
    assert found[0] < 0.25
    assert found[1] == 1


def test_a_method_compared_with_itself_differs_by_exactly_nothing() -> None:
    found = paired_difference(NOISY, NOISY, "A", generator=generator())
    assert found.point.disentangle == 0
    assert found.disentangle_p() == 1
    # One pair of 144 that differs can't be ruled out.
    ends = found.intervals().cause
    assert ends == pytest.approx((-1.96 / 48, 1.96 / 48), rel=1e-3)


def test_a_paired_difference_is_sharper_than_two_intervals() -> None:
    """Two methods that fail on the same entities differ by a hair, which only pairing shows."""
    hard = {f"e{i}": i // 2 for i in range(0, 40, 2)}
    worse = rectangle(lambda a, t, e: "neither" if e in hard else "swapped", n_entities=40)
    better = rectangle(
        lambda a, t, e: "neither" if e in hard and (hard[e] + int(t[1:])) % 4 else "swapped", n_entities=40
    )
    found = paired_difference(better, worse, "A", generator=generator())
    paired, unpaired = found.intervals().cause, intervals_of(worse, "A").cause
    assert found.point.cause == pytest.approx(0.125)
    assert paired is not None
    assert unpaired is not None
    assert paired[0] > 0
    assert paired[1] - paired[0] < 0.5 * (unpaired[1] - unpaired[0])
    assert (scores(better, "A").cause or 0) < unpaired[1]


def test_other_pairs_are_refused() -> None:
    with pytest.raises(SuiteError, match="judged on the same pairs"):
        paired_difference(NOISY, NOISY[1:], "A", generator=generator())
    resamples = draw_resamples(clusters_of(NOISY), 5, generator())
    with pytest.raises(SuiteError, match="'e99', which is in none of them"):
        sample_scores([outcome("A", "A1", "e99", "swapped")], "A", resamples)


def test_two_thousand_outcomes_take_a_blink() -> None:
    many = rectangle(noisy("A", cause=0.5, isolate=0.5, seed=0), n_templates=7, n_entities=96)
    assert len(many) > 2000
    start = time.process_time()
    bootstrapped = draw_resamples(clusters_of(many), 1000, generator())
    sample_scores(many, "A", bootstrapped).intervals()
    assert time.process_time() - start < 0.3
