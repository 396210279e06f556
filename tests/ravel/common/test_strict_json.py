"""JSON as a stranger may not bend it: what is refused, and that nothing else is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ravel.common.strict_json import MAX_DEPTH, MAX_DIGITS, JsonError, parse_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    # Halves of surrogate pairs are no text.
    | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text('ab"\\[]{}', max_size=3), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(VALUES, st.booleans())
def test_whatever_is_json_comes_back(value: Any, ascii_only: bool) -> None:
    assert parse_json(json.dumps(value, ensure_ascii=ascii_only)) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("NaN", "no number of JSON"),
        ('{"a": Infinity}', "no number of JSON"),
        ("[-Infinity]", "no number of JSON"),
        ("1e999", "beyond what a float"),
        ("[-1e999]", "beyond what a float"),
        ('{"a": 1, "b": 2, "a": 1}', "'a' twice"),
        ('{"x": {"a": 1, "\\u0061": 2}}', "'a' twice"),
        ("\ufeff{}", "byte order mark"),
        ('"\\ud800"', "surrogate"),
        ('{"\\udfff": 1}', "surrogate"),
        ('[["\\uD800 x"]]', "surrogate"),
        ("9" * (MAX_DIGITS + 1), "digits"),
        ("-" + "9" * 100_000, "digits"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nested more than"),
        ('{"a":' * 100_000, "nested more than"),
        ('"' + '\\"' * 200_000 + "[" * 40, "line 1"),
        ("{,}", "line 1, column 2"),
        ('{"a": 1}\n}', "line 2, column 1"),
        ("", "line 1"),
        ("'a'", "line 1"),
    ],
)
def test_what_bends_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(JsonError) as caught:
        parse_json(text)
    error = caught.value
    assert reason in f"{error} at line {error.line}, column {error.column}"


def test_what_looks_deep_and_is_not_is_read() -> None:
    text = json.dumps(["[{" * 100 + '"\\', {"a": ["]" * 50]}] * 30)
    assert parse_json(text) == json.loads(text)
    at_the_limit = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert parse_json(at_the_limit) == json.loads(at_the_limit)


def test_a_pair_of_surrogates_is_text() -> None:
    assert parse_json('"\\ud83d\\ude00"') == "\U0001f600"
