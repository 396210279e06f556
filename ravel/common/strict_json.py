"""JSON read strictly: what could mean two things, or could not be written again, is refused."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 64
"""Lists and objects inside each other at most; what the suite writes has fewer than ten."""
MAX_DIGITS = 300
"""Digits of a whole number at most: with more it is no number that a float could hold."""
_BOM = "\ufeff"


class JsonError(ValueError):
    """Text that is no strict JSON; the message is a clause that says why."""

    def __init__(self, words: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(words)
        self.line = line
        """Where the text stops being JSON, from 1; None where the place is not known."""
        self.column = column
        """Column of that place, from 1."""


def parse_json(text: str) -> Any:
    """Return the value of a JSON text. Raises JsonError for a syntax error, a key twice in an object, numbers
    that no float can hold, half of a surrogate pair, and nesting beyond 64 levels."""
    if text.startswith(_BOM):
        raise JsonError("a byte order mark before the JSON")
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise JsonError(error.msg, error.lineno, error.colno) from None
    except RecursionError:
        raise _too_deep() from None
    # Both checks are worth a walk through the value only where the text gives reason to.
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(value)
    if "\\ud" in text or "\\uD" in text:
        _check_surrogates(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        double = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise JsonError(f"the key {_shown(double)} twice in one object")
    return unique


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise JsonError(f"the number {_shown(digits)}, which is beyond what a float can hold")
    return value


def _int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise JsonError(f"a whole number of {len(digits)} digits")
    return int(digits)


def _constant(name: str) -> Any:
    raise JsonError(f"{name}, which is no number of JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_float, parse_int=_int, parse_constant=_constant
)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer) if isinstance(inner, (dict, list))]
        if not level:
            return
    raise _too_deep()


def _check_surrogates(value: Any) -> None:
    waiting = [value]
    while waiting:
        current = waiting.pop()
        waiting.extend(_inside(current))
        for text in current if isinstance(current, dict) else [current] if isinstance(current, str) else []:
            try:
                text.encode("utf-8")
            except UnicodeEncodeError:
                raise JsonError(f"half of a surrogate pair in {_shown(text)}") from None


def _inside(value: Any) -> Iterator[Any]:
    return iter(value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())


def _too_deep() -> JsonError:
    return JsonError(f"lists or objects nested more than {MAX_DEPTH} deep")


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 60 else text[:57] + "...")
