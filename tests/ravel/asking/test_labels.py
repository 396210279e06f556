"""Labels: always a prefix of what the model said, cut where an answer ends."""

from __future__ import annotations

import pytest
from answering_world import TableAnswerer, pieces, town_tables
from hypothesis import given, settings
from hypothesis import strategies as st

from ravel.asking.labels import distinct_within, extract_label, label_is_settled, label_tokens_of


@pytest.mark.parametrize(
    ("continuation", "label"),
    [
        (" United States. It", " United States"),
        (" Norway.", " Norway"),
        (" Norway, a", " Norway"),
        (" Norway; a", " Norway"),
        (" Norway\nCity", " Norway"),
        ('Norway", "pop', "Norway"),
        (" Norway (in Europe)", " Norway"),
        (" Norway and Sweden", " Norway"),
        (" Andorra andorra", " Andorra andorra"),
        (" Europe/Oslo zone", " Europe/Oslo zone"),
        (" 1,000.5 m", " 1,000.5 m"),
        ("\u00c5land\n", "\u00c5land"),
        (' "Norway", ', ' "Norway'),
        ("\n\nNorway\n", "\n\nNorway"),
        (" and so", ""),
        (" (", ""),
        ('", "x', ""),
        ("...", ""),
        ("", ""),
    ],
)
def test_where_a_label_ends(continuation: str, label: str) -> None:
    assert extract_label(continuation) == label


@pytest.mark.parametrize(
    ("continuation", "label"),
    [(" 48.85", " 48"), (" -73\u00b0 W", " -73"), ("+5:30", "+5"), (" about 48.8", " about 48"), (" -", "")],
)
def test_numbers_keep_the_integer_part_with_its_sign(continuation: str, label: str) -> None:
    assert extract_label(continuation, numeric=True) == label


@given(st.text('ab1 .,;"\n(-', max_size=24), st.booleans())
@settings(deadline=None)
def test_a_label_is_a_prefix_and_cutting_it_again_changes_nothing(continuation: str, numeric: bool) -> None:
    label = extract_label(continuation, numeric=numeric)
    assert continuation.startswith(label)
    assert extract_label(label, numeric=numeric) == label


@given(st.text("ab cd", min_size=1, max_size=20), st.integers(1, 20))
@settings(deadline=None)
def test_label_tokens_are_the_shortest_prefix_that_covers_the_label(text: str, length: int) -> None:
    answerer = TableAnswerer(town_tables())
    ids = tuple(int.from_bytes(piece.encode(), "big") for piece in pieces(text) if piece)
    label = text[:length].rstrip()
    found = label_tokens_of(ids, label, answerer.decode)
    assert found is not None
    assert answerer.decode(found).startswith(label) or not label
    assert len(found) == 1 or not answerer.decode(found[:-1]).startswith(label)


def test_a_decoder_that_drops_the_leading_blank_still_covers_the_label() -> None:
    words = {1: "Nor", 2: "way", 3: " is"}
    assert label_tokens_of((1, 2, 3), " Norway", lambda ids: "".join(words[i] for i in ids)) == (1, 2)
    assert label_tokens_of((1, 3), " Norway", lambda ids: "".join(words[i] for i in ids)) is None


def test_a_beginning_of_the_other_label_is_not_distinct() -> None:
    assert not distinct_within((1, 2), (1, 2, 3), 3)
    assert not distinct_within((1, 2, 3, 4), (1, 2, 3, 5), 3)
    assert distinct_within((1, 2, 3, 4), (1, 2, 3, 5), 4)
    assert distinct_within((1,), (2, 1), 3)


@settings(max_examples=400, deadline=None)
@given(
    st.text(st.sampled_from(' \n".,;(andX5-+°\ufffd'), max_size=8),
    st.booleans(),
    st.lists(st.text(st.sampled_from(' \n".,;(andX5-+°'), max_size=4)),
)
def test_a_settled_label_stays_as_it_is(text: str, numeric: bool, more: list[str]) -> None:
    if label_is_settled(text, numeric=numeric) and not text.endswith("\ufffd"):
        label = extract_label(text, numeric=numeric)
        assert all(extract_label(text + rest, numeric=numeric) == label for rest in more)


@pytest.mark.parametrize(
    ("text", "numeric", "settled"),
    [
        (" France", False, False),
        (" France.", False, False),
        (" France. ", False, True),
        (' France"', False, True),
        (" France and", False, False),
        (" France and ", False, True),
        (" U.S.", False, False),
        (" 52", True, False),
        (" 52.", True, True),
        (" -", True, False),
        (" north", True, False),
    ],
)
def test_when_a_label_is_settled(text: str, numeric: bool, settled: bool) -> None:
    assert label_is_settled(text, numeric=numeric) == settled
