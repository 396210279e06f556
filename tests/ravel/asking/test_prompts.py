"""Filling templates: the span is the slot's, and the text is the template's with the name in it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ravel.asking.prompts import fill, glues_letters
from ravel.common.errors import SuiteError
from ravel.terms.schema import Template

plain = st.text(max_size=20).filter(lambda text: "%" not in text and "s" not in text)


@given(plain, plain, st.text(min_size=1, max_size=9))
@settings(deadline=None)
def test_the_span_holds_the_entity_and_the_rest_is_the_template(before: str, after: str, entity: str) -> None:
    prompt = fill(Template(f"{before}%s{after}", "A", "val"), entity)
    start, end = prompt.span
    assert prompt.text[start:end] == entity
    assert (prompt.text[:start], prompt.text[end:]) == (before, after)


def test_the_slot_counts_and_not_an_earlier_mention() -> None:
    prompt = fill(Template("Oslo is in Norway; %s is in", "Country", "train"), "Oslo")
    assert prompt.span == (19, 23)


def test_an_entity_with_a_slot_in_its_name_is_put_in_as_it_is() -> None:
    assert fill(Template("in %s.", None, "train"), "a%sb").text == "in a%sb."


@pytest.mark.parametrize(("text", "count"), [("no slot", "none"), ("%s and %s", "2")])
def test_one_slot_is_needed(text: str, count: str) -> None:
    with pytest.raises(SuiteError, match=f"one slot '%s' in a template; got {count} in"):
        fill(Template(text, "A", "train"), "Oslo")


def test_a_text_of_one_entity_takes_no_other() -> None:
    bound = Template("in %s", None, "train", entity="Oslo")
    assert fill(bound, "Oslo").entity == "Oslo"
    with pytest.raises(SuiteError, match="the entity 'Oslo', the only one"):
        fill(bound, "Rome")


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(SuiteError, match="an entity with a name"):
        fill(Template("in %s", None, "train"), "")


@pytest.mark.parametrize(
    ("text", "glued"),
    [("%ss", True), ("%s2", True), ("%s\u00e9", True), ("%s's", False), ("%s", False), ("%s.", False)],
)
def test_letters_and_digits_after_the_slot_are_seen(text: str, glued: bool) -> None:
    assert glues_letters(Template(text, None, "train")) is glued
