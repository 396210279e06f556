"""Strict JSON and YAML: what is plain is read as ever; what means two things, or nothing, is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from ravel.common.config import Config
from ravel.common.errors import SuiteError
from ravel.common.io import canonical_json, read_bytes, read_json, read_jsonl
from ravel.common.strict_json import JsonError, parse_json
from ravel.common.strict_yaml import YamlError, parse_yaml, to_yaml
from ravel.common.typed import check_version, typed_values

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(PLAIN)
@settings(max_examples=150, derandomize=True, deadline=None)
def test_plain_values_are_read_as_they_were_written(value: Any) -> None:
    assert parse_json(canonical_json(value)) == value
    assert parse_json(json.dumps(value, indent=1)) == value
    # JSON is YAML, but for what YAML takes from it: line ends inside of text that are no line ends of JSON.
    if canonical_json(value).isprintable():
        assert parse_yaml(json.dumps(value)) == value
    assert parse_yaml(to_yaml(value)) == value


@pytest.mark.parametrize("number", ["1e-4", "1E5", "-2e+3", "1.5e3", "1.e-2"])
def test_a_number_with_an_exponent_is_a_number_and_text_like_it_stays_text(number: str) -> None:
    assert parse_yaml(f"rate: {number}") == {"rate": float(number)}
    assert parse_yaml(f"rate: '{number}'") == {"rate": number}
    assert parse_yaml(to_yaml({"rate": number})) == {"rate": number}
    assert parse_yaml("name: 1e-4b") == {"name": "1e-4b"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' twice in one object"),
        ('{"a": NaN}', "NaN, which is no number of JSON"),
        ("[-Infinity]", "-Infinity, which is no number"),
        ("[1e999]", "the number '1e999', which is beyond"),
        ("1" + "0" * 400, "a whole number of 401 digits"),
        ("9" * 5000, "a whole number of 5000 digits"),
        ('["\\ud800"]', "half of a surrogate pair"),
        ('{"\\uDFFF": 1}', "half of a surrogate pair"),
        ("[" * 66 + "]" * 66, "nested more than 64 deep"),
        ("[" * 100_000, "nested more than 64 deep"),
        ('{"a":' * 100_000, "nested more than 64 deep"),
        ("\ufeff[]", "a byte order mark"),
        ("", "Expecting value"),
        ("[] []", "Extra data"),
    ],
)
def test_json_that_is_not_strict_is_refused(text: str, words: str) -> None:
    with pytest.raises(JsonError, match=words):
        parse_json(text)


def test_what_is_just_within_the_limits_is_read() -> None:
    assert parse_json("[" * 64 + "]" * 64)
    assert parse_json('["\\ud83c\\udff0"]') == ["🏰"]
    assert parse_json("9" * 300) == int("9" * 300)
    assert parse_json("[1e308, 1e-999]") == [1e308, 0.0]


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2", "the key 'a' twice"),
        ("a: {b: 1, b: 2}", "the key 'b' twice"),
        (BOMB, "more than 100000 values"),
        ("a: &a [*a]", "nested more than 64 deep"),
        ("x: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("x: 2026-01-01", "a date"),
        ("x: 2026-13-45", "a value that can't be read"),
        ("x: !!bool maybe", "a value that can't be read"),
        ("x: !!timestamp 1", "a value that can't be read"),
        ("x: .nan", "no finite number"),
        ("NO: 1", "False as a key"),
        ("1: x", "1 as a key"),
        ('x: "\\ud800"', "half of a surrogate pair"),
        ("x: " + "[" * 5000, "nested more than 64 deep"),
        ("x: " + "9" * 5000, "a value that can't be read"),
        ("x: " + "9" * 400, "more than 300 digits"),
        ("\tx: 1", "cannot start any token"),
        ("a: *b", "undefined alias"),
        ("x: !!set {a}", "a set"),
        ("x: !!binary //8=", "a bytes"),
    ],
)
def test_yaml_that_is_not_strict_is_refused(text: str, words: str) -> None:
    with pytest.raises(YamlError, match=words):
        parse_yaml(text)


def test_yaml_may_name_a_value_once_and_use_it_twice() -> None:
    assert parse_yaml("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}") == {
        "a": {"b": 1, "c": 2},
        "d": {"b": 1, "c": 3},
    }


class _Settings(Config):
    steps: int = 1
    rate: float = 0.5
    flags: tuple[bool, ...] = ()
    inner: dict[str, int] = Field(default_factory=dict)


@pytest.mark.parametrize("text", ["steps: yes", "rate: no", "inner: {a: on}"])
def test_a_word_that_yaml_takes_for_truth_is_no_number(text: str) -> None:
    with pytest.raises(SuiteError, match=r"a number for .*YAML reads yes, no, on and off so"):
        _Settings.from_yaml(text)
    assert _Settings.from_yaml("flags: [yes, no]").flags == (True, False)


def test_a_setting_is_finite() -> None:
    with pytest.raises(SuiteError, match="finite"):
        _Settings.from_mapping({"rate": float("inf")}, origin="here")


@dataclass
class _Row:
    n: int
    share: float | None
    name: str
    kind: Literal["a", "b"]
    ends: tuple[float, float] | None
    names: tuple[str, ...]
    by: dict[str, int]
    is_on: bool


ROW = {
    "n": 1,
    "share": 1,
    "name": "x",
    "kind": "a",
    "ends": [0, 1.5],
    "names": ["y"],
    "by": {"z": 1},
    "is_on": True,
}


def test_values_get_the_types_of_their_fields() -> None:
    found = typed_values(_Row, ROW, origin="here", todo="mend it")
    assert found == {**ROW, "ends": (0, 1.5), "names": ("y",)}
    assert typed_values(_Row, {**ROW, "share": None, "ends": None}, origin="here", todo="x")["ends"] is None


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("n", True, "a whole number as 'n' in here; got True"),
        ("n", 1.0, "a whole number as 'n'"),
        ("n", "1", "a whole number as 'n'"),
        ("share", float("nan"), "a finite number or null as 'share'"),
        ("share", False, "a finite number or null as 'share'"),
        ("name", None, "text as 'name'"),
        ("kind", "c", "one of a, b as 'kind'"),
        ("kind", ["a"], "one of a, b as 'kind'"),
        ("ends", [0.0], "a list of 2 entries, each a finite number or null as 'ends'"),
        ("ends", {}, "a list of 2 entries"),
        ("names", "yy", "as 'names'"),
        ("names", [1], "as 'names'"),
        ("by", {"z": 1.5}, "an object as 'by'"),
        ("by", [], "an object as 'by'"),
        ("is_on", 1, "true or false as 'is_on'"),
    ],
)
def test_values_of_another_type_are_named(name: str, value: object, words: str) -> None:
    with pytest.raises(SuiteError, match=words):
        typed_values(_Row, {**ROW, name: value}, origin="here", todo="mend it")


def test_versions() -> None:
    check_version(1, 2, what="records", origin="here")
    check_version(2, 2, what="records", origin="here")
    with pytest.raises(SuiteError, match=r"got version 3, which is newer. To mend it: update ravel-bench"):
        check_version(3, 2, what="records", origin="here")
    for other in (0, -1, True, "2", None, 2.0):
        with pytest.raises(SuiteError, match="restore the file"):
            check_version(other, 2, what="records", origin="here")


def test_errors_of_files_name_the_place(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"a": 1, "a": 2}\n')
    with pytest.raises(SuiteError, match=r"line 2 of .*a\.jsonl; got the key 'a' twice"):
        list(read_jsonl(path))
    path.write_text("[1,\n 1e999]")
    with pytest.raises(SuiteError, match=r"JSON in .*a\.jsonl; got the number '1e999'"):
        read_json(path)
    for strange in (tmp_path, tmp_path / "nowhere", tmp_path / ("x" * 5000), Path("a\0b"), path / "below"):
        with pytest.raises(SuiteError, match="file at"):
            read_bytes(strange)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(SuiteError, match="file at"):
        read_bytes(loop)


def test_an_error_can_be_printed_whatever_it_quotes() -> None:
    error = SuiteError(expected="x" * 10_000, came="\ud800", todo="y")
    assert len(str(error)) < 2200
    assert "\\ud800" in str(error)
    assert str(error).encode("utf-8")
