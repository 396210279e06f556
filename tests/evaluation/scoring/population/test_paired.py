"""Words of a text for one prompt against another: by hand, and by laws."""

from __future__ import annotations

import math

import pytest

from evaluation.scoring.population.paired import PairedModels


def test_one_word_by_hand() -> None:
    models = PairedModels({"base": [frozenset("a")] * 3, "source": [frozenset("b")] * 3})
    # Of 6 texts 3 have the word a, a share of .5: (3 + .5) / 4 and (0 + .5) / 4.
    p, q = 3.5 / 4, 0.5 / 4
    told_by_a = math.log(q / p)
    told_without_b = math.log((1 - p) / (1 - q))
    assert models.log_ratio({"a"}, "base", "source") == pytest.approx(told_by_a + told_without_b)
    assert models.log_ratio({"a"}, "base", "source", but={"b"}) == pytest.approx(told_by_a)


def test_both_ways_are_opposite_and_a_prompt_against_itself_tells_nothing() -> None:
    texts = {"x": [frozenset("ab"), frozenset("a")], "y": [frozenset("c")], "z": [frozenset("ac")] * 4}
    models = PairedModels(texts)
    for text in (set("ab"), set("c"), set(), set("q")):
        assert models.log_ratio(text, "x", "y") == pytest.approx(-models.log_ratio(text, "y", "x"))
        assert models.log_ratio(text, "x", "x") == 0
        around = models.log_ratio(text, "x", "y") + models.log_ratio(text, "y", "z")
        assert around == pytest.approx(models.log_ratio(text, "x", "z"))


def test_words_that_no_text_has_and_words_of_everywhere_tell_nothing() -> None:
    texts = {"x": [frozenset(["the", "a"])] * 4, "y": [frozenset(["the", "b"])] * 4}
    models = PairedModels(texts)
    plain = models.log_ratio({"the", "a"}, "x", "y")
    assert models.log_ratio({"a"}, "x", "y") == pytest.approx(plain)
    assert models.log_ratio({"a", "unheard"}, "x", "y") == pytest.approx(plain)


def test_a_word_in_every_text_is_not_certain() -> None:
    models = PairedModels({"x": [frozenset("a")] * 8, "y": [frozenset("a")] * 2})
    assert math.isfinite(models.log_ratio(set(), "x", "y"))
