"""JSON as a stranger may not bend it: what Python's reader takes besides the standard is refused; no files.

Python's own reader takes NaN and infinity, keeps the last of two equal keys, turns 1e999 into infinity, and
ends in other errors than its own for deep nesting and long integers. Each of these lets one text mean two
things, or one text stop a program. Here each is a `NotJSONError` with a reason.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any

__all__ = ["MAX_DEPTH", "MAX_DIGITS", "NotJSONError", "parse_json"]

MAX_DEPTH = 32
"""Objects and lists inside one another; what the suite writes needs eight."""
MAX_DIGITS = 20
"""Digits of an integer; seeds of 64 bits have twenty at most."""

_MARK = re.compile(r'\\.|["\[\]{}]', re.DOTALL)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class NotJSONError(ValueError):
    """Why a text is refused, in words without a full stop."""


def parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises NotJSONError for a syntax error (with line and column), a byte order mark, NaN, infinity, a number
    too large for a float, an integer of more than `MAX_DIGITS` digits, a repeated key, a lone surrogate, and
    nesting deeper than `MAX_DEPTH`.
    """
    if text.startswith("\ufeff"):
        raise NotJSONError("a byte order mark at line 1, column 1")
    _check_depth(text)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise NotJSONError(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    if _SURROGATE.search(text):
        _check_surrogates(value)
    return value


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth, quoted = 0, False
    for found in _MARK.finditer(text):
        mark = found.group()
        if mark == '"':
            quoted = not quoted
        elif not quoted and len(mark) == 1:
            depth += 1 if mark in "[{" else -1
            if depth > MAX_DEPTH:
                raise NotJSONError(f"values nested deeper than {MAX_DEPTH} levels")


def _check_surrogates(value: Any) -> None:
    """Refuse halves of surrogate pairs: they are no text and can't be written as UTF-8."""
    if isinstance(value, str):
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise NotJSONError("half of a surrogate pair in a string")
    elif isinstance(value, dict):
        for name, entry in value.items():
            _check_surrogates(name)
            _check_surrogates(entry)
    elif isinstance(value, list):
        for entry in value:
            _check_surrogates(entry)


def _once(entries: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(entries)
    if len(found) < len(entries):
        twice = next(name for name, n in Counter(name for name, _ in entries).items() if n > 1)
        raise NotJSONError(f"the key {twice[:60]!r} twice in one object")
    return found


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise NotJSONError(f"an integer of more than {MAX_DIGITS} digits")
    return int(digits)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise NotJSONError(f"the number {text[:40]}, which is too large")
    return value


def _constant(name: str) -> float:
    raise NotJSONError(f"{name}, which is no JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_once, parse_int=_integer, parse_float=_number, parse_constant=_constant
)
