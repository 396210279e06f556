"""The entity's last token: the one that ends where the entity ends, whatever the tokenizer's habits."""

from __future__ import annotations

import pytest
from answering_world import piece_offsets
from hypothesis import given, settings
from hypothesis import strategies as st

from ravel.asking.positions import PositionError, last_token_of
from ravel.asking.prompts import fill
from ravel.common.errors import SuiteError
from ravel.terms.schema import Template


def test_last_of_the_tokens_inside_the_entity() -> None:
    # "In Oslo it": In | _Os | lo | _it, with a special token in front.
    offsets = [(0, 0), (0, 2), (2, 5), (5, 7), (7, 10)]
    assert last_token_of(offsets, (3, 7)) == 3


def test_pieces_of_one_letter_share_its_place_and_the_last_counts() -> None:
    assert last_token_of([(0, 1), (1, 2), (1, 2), (1, 2), (2, 3)], (0, 2)) == 3


def test_a_special_token_after_the_text_is_passed_over() -> None:
    assert last_token_of([(0, 4), (0, 0)], (0, 4)) == 0


@pytest.mark.parametrize("crossing", [(2, 5), (3, 7)])
def test_a_token_that_runs_on_past_the_entity_is_refused(crossing: tuple[int, int]) -> None:
    with pytest.raises(PositionError, match=f"end at character 4; got one over characters {crossing[0]}"):
        last_token_of([(0, crossing[0]), crossing], (0, 4))


def test_a_text_cut_before_the_entity_ends_is_refused() -> None:
    with pytest.raises(PositionError, match="covers character 9, the entity's last; got 2 tokens"):
        last_token_of([(0, 3), (3, 6)], (5, 10))


def test_an_empty_span_is_refused() -> None:
    with pytest.raises(SuiteError, match="a span of at least one character"):
        last_token_of([(0, 3)], (2, 2))


@given(
    st.text("abc ", min_size=1).filter(str.strip), st.text("ab\u00e9", min_size=1), st.text("xy.", max_size=9)
)
@settings(deadline=None)
def test_the_tokens_up_to_the_position_spell_the_prompt_up_to_the_entity(
    before: str, entity: str, after: str
) -> None:
    prompt = fill(Template(f"{before}{entity} %s {after}", "A", "train"), entity)
    offsets = piece_offsets(prompt.text)
    last = last_token_of(offsets, prompt.span)
    assert prompt.text[: offsets[last][1]] == f"{before}{entity} {entity}"
