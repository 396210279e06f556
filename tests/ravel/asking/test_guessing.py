"""Answers that would fit any entity are told from knowledge, however many of them are right."""

from __future__ import annotations

import numpy as np
import pytest
from answering_world import COLOURS, TOWN, TableAnswerer, town_tables

from ravel.asking.guessing import Fit, all_guessed, fits_of
from ravel.asking.knowledge import Questioner, Stop
from ravel.terms.schema import Prompt


def fit_of(say: object, n_entities: int = 120, stop: Stop = "never") -> Fit:
    """Return the fit of Colour, of four values equally often."""
    tables = town_tables(n_entities, 12)
    questioner = Questioner(TOWN, TableAnswerer(tables, say), max_new_tokens=8, mode="strict")  # type: ignore[arg-type]
    answers = questioner.ask(tables.templates_for("Colour"), tables.entities, stop=stop)
    return fits_of(answers, questioner)["Colour"]


def guess(prompt: Prompt, said: str) -> str:
    """Say one of the colours, whatever the town."""
    return f" {COLOURS[hash_of(prompt.text) % 4]}. So it is"


def hash_of(text: str) -> int:
    return sum(place * ord(letter) for place, letter in enumerate(text, start=1)) // 7


def test_what_is_known_fits_its_own_entity() -> None:
    fit = fit_of(None)
    assert fit.own == 1
    assert fit.other == pytest.approx(0.25, abs=0.1)
    assert fit.is_knowledge


@pytest.mark.parametrize(
    "say", [guess, lambda prompt, said: " red. So it is", lambda prompt, said: " the world."]
)
def test_guesses_fit_any_entity(say: object) -> None:
    fit = fit_of(say)
    assert fit.own == pytest.approx(fit.other, abs=0.08)
    assert not fit.is_knowledge


def test_a_few_known_among_many_are_knowledge() -> None:
    tables = town_tables(480, 12)
    known = {facts.entity for facts in tables.entities[::20]}
    fit = fit_of(lambda prompt, said: said if prompt.entity in known else " the world.", 480)
    assert fit.own == pytest.approx(0.05)
    assert fit.is_knowledge


@pytest.mark.parametrize("say", [None, guess])
def test_answers_that_stop_early_fit_rivals_as_whole_ones_do(say: object) -> None:
    """A wrong answer may be cut before it has said what would be right about another."""
    whole = fit_of(say)
    assert fit_of(say, stop="judged") == whole
    assert fit_of(say, stop="labelled") == whole


def test_all_is_guessed_where_neither_one_attribute_nor_all_together_show_knowledge() -> None:
    def with_errors(*errors: float) -> dict[str, Fit]:
        return {str(i): Fit(0.25 + 0.01 * error, 0.25, 0.01) for i, error in enumerate(errors)}

    assert all_guessed(with_errors(1.9))
    assert all_guessed(with_errors(2.9, 0, 0, 0))
    assert not all_guessed(with_errors(2.1))
    assert not all_guessed(with_errors(3.1, 0, 0, 0))
    assert not all_guessed(with_errors(1.5, 1.5))
    assert not all_guessed({})
    assert Fit(1.0, 0.5, 0.0).errors == float("inf")
    assert all_guessed({"A": Fit(0.0, 0.0, 0.0)})


def test_by_hand() -> None:
    """Two entities and one template; each is told the other's value: never right, always about another."""
    tables = town_tables(8, 1)
    pair = (tables.entities[0], tables.entities[4])
    values = [dict(facts.values)["Colour"] for facts in pair]
    assert values[0] != values[1]

    def say(prompt: Prompt, said: str) -> str:
        return f" {values[prompt.entity == pair[0].entity]}."

    questioner = Questioner(TOWN, TableAnswerer(tables, say), max_new_tokens=8, mode="strict")
    answers = questioner.ask(tables.templates_for("Colour"), pair)
    fit = fits_of(answers, questioner)["Colour"]
    assert (fit.own, fit.other, fit.error, fit.is_knowledge) == (0, 1, 0, False)
    one = answers.of_entities([0])
    assert fits_of(one, questioner) == {}
    assert np.shape(one.asked) == (1, 1)
