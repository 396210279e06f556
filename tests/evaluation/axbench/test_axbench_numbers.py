"""Numbers of AxBench's protocol by hand: areas, thresholds, harmonic means, chosen factors, rules."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from evaluation.axbench.detection import activation_of, largest_f1, largest_scores, normalised, told, youden
from evaluation.axbench.directions import FINDERS
from evaluation.axbench.judges import Asked, JudgeError, WordJudge, rating_in
from evaluation.axbench.run import AxbenchConfig
from evaluation.axbench.steering import (
    FACTORS,
    Rating,
    SteeredAnswer,
    best_factor,
    choosing_count,
    steering_row,
)


@pytest.mark.parametrize(("ratio", "area"), [(0.5, 0.6382), (1.0, 0.7602), (2.0, 0.9214), (3.0, 0.9831)])
def test_diff_mean_reaches_the_area_of_two_gaussians(ratio: float, area: float) -> None:
    """Phi of the distance of the means over sqrt(2) of their spread (the closed form)."""
    assert 0.5 * (1 + math.erf(ratio / 2)) == pytest.approx(area, abs=5e-5)
    stream = torch.Generator().manual_seed(0)
    apart = torch.zeros(8)
    apart[3] = ratio / 2
    positive, negative = (torch.randn(20_000, 8, generator=stream) + sign * apart for sign in (1, -1))
    direction = FINDERS["diff_mean"](positive, negative, 0)
    test = torch.cat([torch.randn(4_000, 8, generator=stream) + sign * apart for sign in (1, -1)])
    shares = told((test @ direction).double().numpy(), ["positive"] * 4_000 + ["negative"] * 4_000)
    assert shares["auroc"] == pytest.approx(area, abs=0.015)


def test_directions_have_length_one_and_a_random_one_tells_nothing() -> None:
    stream = torch.Generator().manual_seed(1)
    positive = torch.randn(400, 6, generator=stream) * torch.tensor([5.0, 1, 1, 1, 1, 1]) + 2
    negative = torch.randn(400, 6, generator=stream)
    for name, find in FINDERS.items():
        direction = find(positive, negative, 0)
        assert float(direction.norm()) == pytest.approx(1, abs=1e-5)
        assert torch.equal(direction, find(positive, negative, 0)), name
    assert abs(float(FINDERS["pca"](positive, negative, 0)[0])) > 0.95
    assert abs(float(FINDERS["lat"](positive, negative, 0)[0])) > 0.9


def test_a_text_scores_its_largest_token_to_three_decimals() -> None:
    assert largest_scores([[0.1, 0.98764, -3], [-0.0004, -0.2]]).tolist() == [0.988, 0.0]
    assert activation_of(np.array([0.5, -1.0])) == 0.5
    assert activation_of(np.array([-0.5, -1.0])) == 50


def test_shares_of_a_small_table() -> None:
    """Positives 4, 3, 1; ordinary 2, 1, 0; hard negatives 5 and 0.

    Pairs won: 4 beats three, 3 beats three, 1 beats one and ties one: 7.5 of 9. Youden: at 3 or above are two
    of three positives and no ordinary text. Hard negatives: one of two is below, so (2/3 + 1/2) / 2. F1: at 1
    or above are 3 and 2 (.75), at 3 or above 2 and 0 (.8).
    """
    scores = np.array([4, 3, 1, 2, 1, 0, 5, 0], dtype=float)
    shares = told(scores, ["positive"] * 3 + ["negative"] * 3 + ["hard negative"] * 2)
    assert shares["auroc"] == pytest.approx(7.5 / 9)
    assert shares["hard_negative_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert shares["f1"] == pytest.approx(0.8)
    assert normalised(scores).tolist() == [0.8, 0.6, 0.2, 0.4, 0.2, 0, 1, 0]


def test_where_nothing_is_told_there_is_no_threshold() -> None:
    names = ["positive", "negative", "hard negative"]
    shares = told(np.ones(3), names)
    assert shares["auroc"] == 0.5
    assert shares["hard_negative_accuracy"] is None
    assert normalised(np.ones(3)).tolist() == [0, 0, 0]
    # The positive lies below: no threshold gains, though F1 of all is 2/3.
    has = np.array([True, False])
    assert youden(np.array([0.0, 1.0]), has) is None
    assert largest_f1(np.array([0.0, 1.0]), has) == pytest.approx(2 / 3)
    assert told(np.array([1.0, 0.0]), ["positive", "negative"])["hard_negative_accuracy"] is None


def rating(factor: float, number: int, *three: float) -> Rating:
    return Rating("diff_mean", 7, number, factor, "j", *(three or (1.0, 1.0, 1.0)))


def test_overall_is_the_harmonic_mean() -> None:
    assert rating(1, 0, 2, 1, 1).overall == pytest.approx(1.2)
    # 3 / (5/4 + 5/3 + 10/9)
    assert rating(1, 0, 0.8, 0.6, 0.9).overall == pytest.approx(108 / 145)
    assert rating(1, 0, 2, 0, 2).overall == 0


def test_the_factor_is_chosen_on_the_first_half_and_reported_on_the_other() -> None:
    answers = [SteeredAnswer("diff_mean", 7, n, "i", factor, "t") for n in range(4) for factor in (1.0, 2.0)]
    better = {(0, 2.0): (2.0,) * 3, (1, 2.0): (1.0,) * 3, (2, 1.0): (2.0,) * 3, (3, 2.0): (2.0, 1.0, 1.0)}
    ratings = [
        rating(a.factor, a.instruction_id, *better.get((a.instruction_id, a.factor), (1.0,) * 3))
        for a in answers
    ]
    row = steering_row(answers, ratings, judge="j", exact=False)
    # At 2 the first half has 2 and 1, at 1 only ones; the second half at 2 has 1 and 1.2.
    assert (row.factor, row.judged_overall, row.exact_overall) == (2.0, pytest.approx(1.1), None)
    exact = steering_row(answers, ratings, judge="words", exact=True)
    assert (exact.judged_overall, exact.exact_overall) == (None, pytest.approx(1.1))
    short = steering_row(answers, ratings[1:], judge="j", exact=False)
    assert (short.n_unfinished, short.factor, short.judged_overall) == (1, None, None)
    assert [choosing_count(n) for n in (2, 4, 10)] == [1, 2, 5]
    assert best_factor([rating(2.0, 0), rating(1.0, 0)]) == 1.0


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("Fine. Rating: [[2]]", 2),
        ("Rating: 1", 1),
        ("Rating: [[0]] or so\nRating: [1.5]", 1.5),
        ('Rating: "**1**"', 1),
    ],
)
def test_ratings_are_read(reply: str, said: float) -> None:
    assert rating_in(reply) == said


@pytest.mark.parametrize("reply", ["", "two", "Rating: good", "Rating: [[3]]"])
def test_nonsense_is_no_rating_and_never_nought(reply: str) -> None:
    with pytest.raises(JudgeError):
        rating_in(reply)


def test_the_rule_counts_words() -> None:
    judge = WordJudge()
    asked = Asked(
        "zebra stripes", "Describe your morning walk", "The zebra had a walk. The zebra had a walk."
    )
    # One of two words of the concept; one of four of the instruction; 5 of 9 pairs are different.
    assert judge.rate(asked) == {"concept": 2, "instruction": 1, "fluency": 1}
    assert judge.rate(Asked("zebra", "Describe", "one"))["fluency"] == 0
    assert judge.rate(Asked("zebra", "Describe", "all of these are new words"))["fluency"] == 2
    with pytest.raises(JudgeError, match="no word"):
        judge.rate(Asked("?!", "Describe", "one two"))
    assert judge.rate(Asked("a b", "Describe", "a one"))["concept"] == 2
    assert judge.exact


def test_the_grid_of_factors_is_the_published_one_and_settings_survive_a_file() -> None:
    """.2 to 2 in steps of .2, then 2.5, 3, 4 and 5."""
    assert pytest.approx([n / 5 for n in range(1, 11)] + [2.5, 3, 4, 5]) == list(FACTORS)
    config = AxbenchConfig(layer=3, chat=True, factors=(1.0,), limit_concepts=2)
    assert AxbenchConfig.from_yaml(config.to_yaml()) == config
