"""What is kept of candidates: by hand, and a planted policy whose gain is known."""

from __future__ import annotations

import math
import random

import pytest

from das.rejection import SUPERCHARGED, Kept, best_candidates, weighted_score


def test_the_best_is_kept_ties_go_to_the_first_and_the_threshold_counts() -> None:
    scores = [[0.2, 0.9, 0.9], [0.5, 0.4], [], [1.0]]
    assert best_candidates(scores) == [Kept(0, 1, 0.9), Kept(1, 0, 0.5), Kept(3, 0, 1.0)]
    assert best_candidates(scores, threshold=0.9) == [Kept(0, 1, 0.9), Kept(3, 0, 1.0)]
    assert best_candidates(scores, threshold=1.1) == []


@pytest.mark.parametrize(("n", "kept"), [(3, 1), (6, 2), (7, 3), (1, 1)])
def test_a_third_stays_and_equal_ones_go_by_their_place(n: int, kept: int) -> None:
    found = best_candidates([[0.5]] * n, share=SUPERCHARGED)
    assert [one.example for one in found] == list(range(kept))
    best_last = best_candidates([[float(i)] for i in range(n)], share=SUPERCHARGED)
    assert [one.example for one in best_last] == list(range(n - kept, n))


def test_a_weight_of_nothing_leaves_cause_alone() -> None:
    candidates = [{"cause": 0.0, "isolate": 1.0}, {"cause": 1.0, "isolate": 0.0}]

    def kept(isolate: float) -> int:
        weights = {"cause": 1.0, "isolate": isolate}
        return best_candidates([[weighted_score(one, weights) for one in candidates]])[0].candidate

    assert (kept(0.0), kept(2.0)) == (1, 0)
    with pytest.raises(KeyError):
        weighted_score(candidates[0], {"fluency": 1.0})


def _best_of(rewards: list[float], policy: list[float], k: int) -> float:
    """The mean of the largest of k draws."""
    order = sorted(range(len(rewards)), key=rewards.__getitem__)
    below, total = 0.0, 0.0
    for action in order:
        reached = below + policy[action]
        total += rewards[action] * (reached**k - below**k)
        below = reached
    return total


def test_one_round_brings_a_planted_policy_what_the_best_of_k_has() -> None:
    rewards, policy, k, n = [0.1, 0.9, 0.4, 0.0, 0.7], [0.3, 0.1, 0.2, 0.25, 0.15], 4, 20_000
    stream = random.Random(0)
    drawn = [stream.choices(range(5), policy, k=k) for _ in range(n)]
    kept = best_candidates([[rewards[action] for action in own] for own in drawn])
    counts = [0] * 5
    for one in kept:
        counts[drawn[one.example][one.candidate]] += 1
    learned = [count / n for count in counts]
    before = sum(p * r for p, r in zip(policy, rewards, strict=True))
    after = sum(p * r for p, r in zip(learned, rewards, strict=True))
    expected = _best_of(rewards, policy, k)
    spread = max(rewards) / math.sqrt(n)
    assert after == pytest.approx(expected, abs=3 * spread)
    assert after > before + 0.1
    # And once more, from what was learned.
    again = _best_of(rewards, learned, k)
    assert again > after
