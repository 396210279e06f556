"""Rankings, thresholds and their intervals: hand-computed numbers, sklearn's on tied data, and a slow plain
way beside the fast one."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import f1_score, roc_auc_score

from evaluation.records.outcomes.detections import Detection
from evaluation.scoring.clusters import FloatArray, clusters_of
from evaluation.scoring.detection.estimates import MEASURES, estimate_detection
from evaluation.scoring.detection.ranking import hard_weights, ranked_pairs, weighted_pairs
from evaluation.scoring.detection.thresholds import RARE, youden_threshold

STREAM = np.random.default_rng(5)


def outcome(
    number: int,
    value: str,
    margins: tuple[float, ...],
    *,
    template: str = "t",
    told: tuple[str, ...] = ("v", "w"),
    **others: str,
) -> Detection:
    return Detection(f"p{number}-{template}", "A", template, f"e{number}", value, others, told, margins)


def drawn(n: int, templates: tuple[str, ...] = ("t", "u"), *, apart: float = 1.0) -> list[Detection]:
    """Outcomes of three values, of which two are told, with few distinct scores."""
    found = []
    for number in range(n):
        value = ("v", "w", "x")[number % 3]
        for template in templates:
            scores = STREAM.normal(size=2).round(1) + apart * np.array([value == "v", value == "w"])
            others = {"B": str(number % 2), "C": str(number % 5)}
            margins = tuple(scores.tolist())
            found.append(outcome(number, value, margins, template=template, **others))
    return found


def area_of(positive: FloatArray, negative: FloatArray) -> float:
    """The share of pairs in which the positive scores higher (Mann and Whitney 1947); a tie counts a half."""
    return float(ranked_pairs(positive, negative).mean())


@pytest.mark.parametrize(("ratio", "area"), [(0.5, 0.6382), (1, 0.7602), (2, 0.9214), (3, 0.9831)])
def test_two_gaussians_have_the_known_area(ratio: float, area: float) -> None:
    # Scores along the difference of means, whose distance is `ratio` standard deviations.
    assert norm.cdf(ratio / math.sqrt(2)) == pytest.approx(area, abs=5e-5)
    quantiles = norm.ppf((np.arange(2000) + 0.5) / 2000)
    assert area_of(quantiles + ratio, quantiles) == pytest.approx(area, abs=3e-4)


def test_ties_count_a_half_as_in_sklearn() -> None:
    for _ in range(20):
        positive, negative = STREAM.integers(0, 4, 7).astype(float), STREAM.integers(0, 4, 11).astype(float)
        truth = [1] * 7 + [0] * 11
        found = area_of(positive, negative)
        assert found == pytest.approx(roc_auc_score(truth, np.concatenate([positive, negative])))
    assert area_of(np.array([1.0]), np.array([1.0])) == 0.5


def test_equal_weights_of_pairs_are_delong_s_placements() -> None:
    positive, negative = STREAM.normal(size=9) + 1, STREAM.normal(size=13)
    ranked = ranked_pairs(positive, negative)
    value, ours, theirs = weighted_pairs(ranked, np.full(ranked.shape, 1 / ranked.size))
    placements = ranked.mean(axis=1), ranked.mean(axis=0)
    variance = placements[0].var(ddof=1) / 9 + placements[1].var(ddof=1) / 13
    assert value == pytest.approx(area_of(positive, negative))
    assert float(np.sum(ours**2) + np.sum(theirs**2)) == pytest.approx(variance)


def test_hard_negatives_agree_on_the_most_other_attributes() -> None:
    agreement = np.array([[0, 2, 2, 1], [0, 0, 0, 0], [1, 0, 0, 0]])
    assert hard_weights(agreement).tolist() == [[0, 0.25, 0.25, 0], [0, 0, 0, 0], [0.5, 0, 0, 0]]
    assert not hard_weights(np.zeros((2, 3), dtype=np.int64)).any()
    assert hard_weights(np.zeros((2, 0), dtype=np.int64)).shape == (2, 0)


def test_the_threshold_is_where_the_two_shares_are_furthest_apart() -> None:
    for _ in range(30):
        scores, has = STREAM.integers(0, 6, 12).astype(float), np.arange(12) % 3 == 0

        def gain(threshold: float, scores: np.ndarray = scores, has: np.ndarray = has) -> float:
            return float((scores[has] > threshold).mean() - (scores[~has] > threshold).mean())

        most = max(gain(threshold) for threshold in [-1, *scores])
        assert gain(youden_threshold(scores, has)) == pytest.approx(max(most, 0))
    # Half-way between neighbours; nobody is above where all are alike, or where there is nobody to find.
    assert youden_threshold(np.array([1.0, 2.0, 4.0]), np.array([False, False, True])) == 3.0
    assert youden_threshold(np.ones(4), np.array([True, False, True, False])) == 1.0
    assert youden_threshold(np.array([1.0, 2.0]), np.array([False, False])) == 2.0


def plain(outcomes: list[Detection], place: int, told: str) -> dict[str, float]:
    """The measures of one value by loops over pairs of prompts."""
    areas, hard, hits, alarms = [], [], [], []
    for template in sorted({o.base_template for o in outcomes}):
        own = [o for o in outcomes if o.base_template == template]
        positive, negative = [[o for o in own if (o.value == told) == has] for has in (True, False)]
        ranked = {
            (p.prompt_id, n.prompt_id): 1.0 * (p.margins[place] > n.margins[place])
            + 0.5 * (p.margins[place] == n.margins[place])
            for p, n in product(positive, negative)
        }
        areas.append(sum(ranked.values()) / len(ranked))
        of_positives = []
        for p in positive:
            agree = [sum(p.others[a] == n.others[a] for a in p.others) for n in negative]
            if max(agree) > 0:
                best = [n for n, count in zip(negative, agree, strict=True) if count == max(agree)]
                of_positives.append(sum(ranked[p.prompt_id, n.prompt_id] for n in best) / len(best))
        hard.append(sum(of_positives) / len(of_positives))
        hits.append(sum(o.margins[place] > 0 for o in positive) / len(positive))
        alarms.append(sum(o.margins[place] > 0 for o in negative) / len(negative))
    h, a = sum(hits) / len(hits), sum(alarms) / len(alarms)
    means = {"auroc": sum(areas) / len(areas), "hard_auroc": sum(hard) / len(hard)}
    scores = {"balanced_accuracy": (h + 1 - a) / 2}
    for name, rate in (("f1", 0.5), ("rare_f1", RARE)):
        precision = rate * h / (rate * h + (1 - rate) * a) if h else 0.0
        scores[name] = 2 * precision * h / (precision + h) if h else 0.0
    return {**means, **scores}


def test_measures_are_means_over_templates_then_values() -> None:
    outcomes = drawn(30)
    found = estimate_detection(outcomes, "A", clusters_of(outcomes))
    slow = [plain(outcomes, place, told) for place, told in enumerate(("v", "w"))]
    assert tuple(found) == MEASURES
    for name in MEASURES:
        assert found[name].value == pytest.approx((slow[0][name] + slow[1][name]) / 2)
        low, high = found[name].interval or (1.0, 0.0)
        assert 0 <= low < (found[name].value or 0) < high <= 1


def test_balanced_f1_is_sklearn_s_of_as_many_of_each() -> None:
    outcomes = [outcome(n, "v" if n < 10 else "x", ((-1.0) ** n, 0.0), told=("v", "q")) for n in range(20)]
    found = estimate_detection(outcomes, "A", clusters_of(outcomes))
    said = [o.margins[0] > 0 for o in outcomes]
    assert found["f1"].value == pytest.approx(f1_score([o.value == "v" for o in outcomes], said))


def test_a_ranking_that_is_perfect_or_blind() -> None:
    outcomes = [
        outcome(n, "v" if n < 6 else "x", (1.0 if n < 6 else -1.0, 0.0), told=("v", "q"), B="b")
        for n in range(12)
    ]
    found = estimate_detection(outcomes, "A", clusters_of(outcomes))
    assert [one.value for one in found.values()] == [1.0] * len(MEASURES)
    blind = [outcome(n, o.value, (0.0, 0.0), told=("v", "q"), B="b") for n, o in enumerate(outcomes)]
    values = [one.value for one in estimate_detection(blind, "A", clusters_of(blind)).values()]
    assert values == [0.5, 0.5, 0.5, 0.0, 0.0]
    for one in (*found.values(), *estimate_detection(blind, "A", clusters_of(blind)).values()):
        low, high = one.interval or (0.0, 0.0)
        assert low < high


def test_the_order_of_outcomes_and_the_scale_of_scores_change_nothing() -> None:
    outcomes = drawn(24)
    clusters = clusters_of(outcomes)
    turned = estimate_detection(outcomes[::-1], "A", clusters)
    scaled = [
        outcome(
            int(o.base_entity[1:]),
            o.value,
            tuple(3 * m for m in o.margins),
            template=o.base_template,
            **o.others,
        )
        for o in outcomes
    ]
    for name, one in estimate_detection(outcomes, "A", clusters).items():
        assert turned[name].value == pytest.approx(one.value, abs=1e-12)
        assert estimate_detection(scaled, "A", clusters)[name].value == one.value
        assert turned[name].interval == pytest.approx(one.interval, abs=1e-9)


def test_other_attributes_and_unread_prompts_do_not_count() -> None:
    outcomes = drawn(12)
    foreign = Detection("q", "B", "s", "e0", "b", {}, ("b", "c"), ())
    clusters = clusters_of([*outcomes, foreign])
    both = estimate_detection([*outcomes, foreign], "A", clusters)
    assert both["auroc"].value == estimate_detection(outcomes, "A", clusters_of(outcomes))["auroc"].value
    assert estimate_detection([*outcomes, foreign], "B", clusters)["auroc"].value is None


@pytest.mark.slow
def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    truth, held, runs = norm.cdf(1 / math.sqrt(2)), 0, 200
    for _ in range(runs):
        outcomes = [
            outcome(n, "v" if n < 15 else "x", (STREAM.normal() + (n < 15), 0.0), told=("v", "q"))
            for n in range(60)
        ]
        low, high = estimate_detection(outcomes, "A", clusters_of(outcomes))["auroc"].interval or (1.0, 0.0)
        held += low <= truth <= high
    assert 0.9 <= held / runs <= 1
