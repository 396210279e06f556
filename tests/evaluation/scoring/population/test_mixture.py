"""Shares by hand, against slow plain ways, and over draws whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from evaluation.records.corpora import Corpus
from evaluation.scoring.population.estimate import GroupedSentences, estimate_share
from evaluation.scoring.population.held_out import HeldOut, hold_out
from evaluation.scoring.population.mixture import FloatArray, Mixture
from evaluation.scoring.population.occurrence import (
    Occurrences,
    VocabularyConfig,
    WordModels,
    occurrences,
    word_models,
)
from ravel.common.errors import SuiteError

CLOSE = 1e-9


def _corpus(sentences: Sequence[Sequence[int]], documents: Sequence[int] | None = None) -> Corpus:
    ends = np.cumsum([0, *map(len, sentences)], dtype=np.int64)
    words = np.array([word for sentence in sentences for word in sentence], dtype=np.int32)
    return Corpus(words, ends, None if documents is None else np.array(documents, dtype=np.int64))


def _world(seed: int = 1) -> tuple[FloatArray, FloatArray]:
    """100 words that occur by themselves: p ~ U(.02, .3), q = p exp(.6 N(0, 1))."""
    stream = np.random.default_rng(seed)
    p = stream.uniform(0.02, 0.3, 100)
    return p, np.minimum(p * np.exp(0.6 * stream.standard_normal(100)), 0.98)


def _models(p: FloatArray, q: FloatArray) -> WordModels:
    """The true models."""
    absent = np.log1p(-q) - np.log1p(-p)
    return WordModels(np.log(q) - np.log(p) - absent, float(absent.sum()), len(p))


def _drawn(p: FloatArray, q: FloatArray, share: float, n: int, seed: int) -> Corpus:
    stream = np.random.default_rng(seed)
    is_other = stream.random(n) < share
    there = stream.random((n, len(p))) < np.where(is_other[:, None], q, p)
    return _corpus([np.flatnonzero(row).tolist() for row in there])


# --- by hand


def test_one_word_has_a_closed_form() -> None:
    config = VocabularyConfig()
    models = word_models(Occurrences(np.array([100]), 1000), Occurrences(np.array([500]), 1000), config)
    mixed = _corpus([[0]] * 200 + [[]] * 800)
    ratios = models.log_ratios(mixed)
    assert ratios[0] == pytest.approx(math.log(0.5 / 0.1))
    assert ratios[-1] == pytest.approx(math.log(0.5 / 0.9))
    # (r - p) / (q - p)
    assert Mixture.of(ratios).likeliest() == pytest.approx((0.2 - 0.1) / (0.5 - 0.1), abs=CLOSE)


@pytest.mark.parametrize(("seen", "share"), [(50, 0.0), (100, 0.0), (500, 1.0), (700, 1.0), (300, 0.5)])
def test_shares_end_at_nothing_and_everything(seen: int, share: float) -> None:
    models = _models(np.array([0.1]), np.array([0.5]))
    mixed = _corpus([[0]] * seen + [[]] * (1000 - seen))
    assert Mixture.of(models.log_ratios(mixed)).likeliest() == pytest.approx(share, abs=CLOSE)


def test_words_count_that_are_in_enough_sentences_of_both() -> None:
    reference, other = Occurrences(np.array([5, 4, 5, 9]), 9), Occurrences(np.array([3, 3, 2, 3]), 9)
    models = word_models(reference, other, VocabularyConfig())
    assert models.n_words == 2
    assert (models.weights != 0).tolist() == [True, False, False, True]
    assert word_models(reference, other, VocabularyConfig(), np.array([0])).n_words == 1
    # A word in every sentence of the reference would make others impossible; it is missing from half a one.
    assert models.weights[3] == pytest.approx(
        math.log(3 / 9) - math.log(8.5 / 9) - (math.log(6 / 9) - math.log(0.5 / 9))
    )
    with pytest.raises(SuiteError, match="no such word"):
        word_models(reference, other, VocabularyConfig(min_other=4))


def test_occurrences_are_counted_by_the_sentence() -> None:
    corpus = _corpus([[0, 2], [2], [1, 2, 3]])
    assert occurrences(corpus, 5).counts.tolist() == [1, 1, 3, 1, 0]
    chosen = occurrences(corpus, 5, np.array([True, False, True]))
    assert (chosen.counts.tolist(), chosen.n) == ([1, 1, 2, 1, 0], 2)


# --- against slow plain ways


def _plain_probability(sentence: set[int], p: FloatArray) -> float:
    return math.prod(p[word] if word in sentence else 1 - p[word] for word in range(len(p)))


def test_ratios_and_share_are_those_of_the_products_written_out() -> None:
    p, q = _world()
    mixed = _drawn(p, q, 0.3, 200, seed=3)
    sentences = [
        set(mixed.words[start:end].tolist())
        for start, end in zip(mixed.starts[:-1], mixed.starts[1:], strict=True)
    ]
    both = [(_plain_probability(one, p), _plain_probability(one, q)) for one in sentences]
    ratios = _models(p, q).log_ratios(mixed)
    assert ratios == pytest.approx([math.log(b / a) for a, b in both], abs=1e-9)

    def lost(share: float) -> float:
        return -sum(math.log((1 - share) * a + share * b) for a, b in both)

    slow = minimize_scalar(lost, bounds=(0, 1), method="bounded", options={"xatol": 1e-10}).x
    mixture = Mixture.of(ratios)
    assert mixture.likeliest() == pytest.approx(slow, abs=1e-6)
    likeliest = mixture.likeliest()
    gained = mixture.log_likelihood(likeliest) - mixture.log_likelihood(0.9)
    assert gained == pytest.approx(lost(0.9) - lost(likeliest))
    for end in mixture.likelihood_interval(likeliest):
        assert 2 * (mixture.log_likelihood(likeliest) - mixture.log_likelihood(end)) == pytest.approx(
            3.8414588, abs=1e-5
        )


def test_many_rows_of_counts_are_solved_as_each_alone() -> None:
    ratios = np.random.default_rng(0).normal(0, 3, 50)
    counts = np.random.default_rng(1).integers(0, 5, (150, 50)).astype(float)
    together = Mixture.of(ratios).likeliest_of(counts)
    alone = [Mixture.of(np.repeat(ratios, row.astype(int))).likeliest() for row in counts]
    assert together == pytest.approx(alone, abs=1e-8)


def test_ratios_beyond_any_number_are_certain() -> None:
    ratios = np.array([5000.0] * 3 + [-5000.0] * 7)
    assert Mixture.of(ratios).likeliest() == pytest.approx(0.3, abs=1e-9)


def test_groups_are_as_good_as_their_sentences() -> None:
    p, q = _world()
    ratios = _models(p, q).log_ratios(_drawn(p, q, 0.2, 9000, seed=5))
    mixture = Mixture.of(ratios)
    grouped = GroupedSentences.of(mixture, mixture.likeliest())
    assert len(grouped.mixture.counts) == 4096
    assert grouped.mixture.likeliest() == pytest.approx(mixture.likeliest(), abs=1e-6)
    drawn = np.random.default_rng(0).integers(9000, size=(20, 9000))
    slow = [Mixture.of(ratios[row]).likeliest() for row in drawn]
    counts = np.stack([np.bincount(grouped.group[row], minlength=4096) for row in drawn]).astype(float)
    assert grouped.mixture.likeliest_of(counts) == pytest.approx(slow, abs=2e-5)


def test_documents_drawn_again_are_drawn_whole() -> None:
    p, q = _world()
    # Each document is of one kind: forty times as few things are drawn.
    parts = [_drawn(p, q, kind, 40, seed=7 + i) for i, kind in enumerate([0.0, 0.0, 1.0, 0.0] * 15)]
    ratios = np.concatenate([_models(p, q).log_ratios(part) for part in parts])
    documents = np.repeat(np.arange(60), 40)
    found = estimate_share(ratios, documents, resamples=400, seed=0)
    assert found.by_sentence is not None
    assert found.by_document is not None
    narrow, wide = (high - low for low, high in (found.by_sentence, found.by_document))
    # A quarter of 60 documents: a deviation of (.25 * .75 / 60)^.5.
    assert wide == pytest.approx(2 * 1.96 * (0.25 * 0.75 / 60) ** 0.5, rel=0.2)
    assert narrow < wide / 3


# --- laws


def test_order_changes_nothing() -> None:
    ratios = np.random.default_rng(0).normal(0, 2, 300)
    mixed = np.random.default_rng(1).permutation(ratios)
    assert Mixture.of(mixed).likeliest() == pytest.approx(Mixture.of(ratios).likeliest(), abs=1e-12)


def test_components_that_agree_identify_no_share() -> None:
    p, _ = _world()
    models = word_models(
        Occurrences((p * 1000).astype(int), 1000),
        Occurrences((p * 1000).astype(int), 1000),
        VocabularyConfig(),
    )
    found = estimate_share(models.log_ratios(_drawn(p, p, 0, 500, 1)), None, resamples=20, seed=0)
    assert (found.share, found.likelihood) == (None, (0.0, 1.0))
    assert found.by_sentence is None


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1, 0.25, 0.5, 1.0])
def test_shares_are_recovered_with_their_intervals(share: float) -> None:
    """Over 100 mixtures of 2,000 sentences, of 100 words."""
    p, q = _world()
    models, stream = _models(p, q), np.random.default_rng(int(100 * share))
    shares, covered = [], 0
    for _ in range(100):
        is_other = stream.random(2000) < share
        there = stream.random((2000, 100)) < np.where(is_other[:, None], q, p)
        mixture = Mixture.of(there @ models.weights + models.constant)
        found = mixture.likeliest()
        low, high = GroupedSentences.of(mixture, found).mixture.likelihood_interval(found)
        covered += low <= share <= high
        shares.append(found)
    assert abs(np.mean(shares) - share) < 0.005
    assert np.abs(np.array(shares) - share).max() < 0.06
    # Of 100 intervals of 95 % fewer than 89 hold the truth once in 500 times.
    assert covered >= 89


# --- held-out mixtures


def test_halves_are_unseen_and_of_whole_documents() -> None:
    p, q = _world()
    reference = _drawn(p, q, 0.0, 600, 1)
    reference = Corpus(reference.words, reference.starts, np.repeat(np.arange(60), 10))
    held = hold_out(reference, _drawn(p, q, 1.0, 500, 2), 100, VocabularyConfig(), seed=4)
    assert [tuple(map(len, half)) for half in held.halves] == [(300, 250), (300, 250)]
    both = held.recover((0.0, 1.0), size=400, repeats=10, seed=0)
    assert [one.true for one in both] == [0.0, 1.0]
    assert both[0].mean < 0.1
    assert both[1].mean > 0.9
    again = held.recover((0.0, 1.0), size=400, repeats=10, seed=0)
    assert np.array_equal(again[1].estimates, both[1].estimates)


def test_recovered_shares_say_their_bias_and_cover() -> None:
    certain = (np.full(50, -40.0), np.full(50, 40.0))
    (found,) = HeldOut((certain,)).recover((0.3,), size=1000, repeats=50, seed=0)
    assert abs(found.bias) < 3 * (0.3 * 0.7 / 1000 / 50) ** 0.5
    assert found.covered >= 0.86
