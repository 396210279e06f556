"""YAML, read strictly (plain values, each key once, no bombs) and written; it knows no files or settings."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Any

import yaml

_DEPTH = 64
"""Lists and mappings inside each other at most."""
_NODES = 100_000
"""Values at most, each counted as often as aliases repeat it."""
_DIGITS = 300
"""Digits of a whole number at most, as in JSON files."""
_CONSTRUCTING = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)
"""What pyyaml raises, besides errors of its own, for scalars that are not of the type they look like or are
tagged with: dates without such a month, for instance."""
_EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
"""Numbers such as 1e-4, which are text to pyyaml unless they have a dot and a sign."""
_BREAKS = frozenset("\x85\u2028\u2029")
"""Line ends to YAML, which pyyaml reads as blanks unless they are escaped."""


class YamlError(ValueError):
    """Text that is no strict YAML; the message is a clause that says why."""


class _Loader(yaml.SafeLoader):
    """The safe loader, with each key of a mapping once; merged keys (`<<`) may be overridden as ever."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping. Raises YamlError for a key that stands twice."""
        if isinstance(node, yaml.MappingNode):
            plain = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            written = [name for name in plain if name != "<<"]
            if len(set(written)) < len(written):
                double = Counter(written).most_common(1)[0][0]
                raise YamlError(
                    f"the key {double[:60]!r} twice, again at{node.start_mark}".replace("\n", " ")
                )
        return super().construct_mapping(node, deep=deep)

    def construct_scalar(self, node: Any) -> Any:
        """Return the text of a scalar, with escaped surrogate pairs joined, as JSON has them."""
        text = super().construct_scalar(node)
        if not isinstance(text, str) or text.isascii():
            return text
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


class _Dumper(yaml.SafeDumper):
    """The safe dumper, which puts text in quotes that the loader would take for something else."""

    def represent_str(self, data: str) -> Any:
        """Return the node of a text. With line ends of Unicode it is quoted, and they escaped."""
        style = '"' if _BREAKS.intersection(data) else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)


for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))


def to_yaml(value: Any, *, width: int = 80) -> str:
    """Return plain values as YAML that `parse_yaml` reads back, keys in the given order, long text folded at
    blanks after `width` characters."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=width)
    return text


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML text: null, text, true, false, finite numbers, lists and mappings of text.

    Raises YamlError for a syntax error, a tag, date or other value of no such type, a key that stands twice
    or is no text, a number that no float can hold, half of a surrogate pair, and for more nesting or values
    than a file of settings has; aliases count as what they repeat.
    """
    try:
        # The loader is a safe one.
        value = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise YamlError(" ".join(str(error).split())) from None
    except YamlError:
        raise
    except RecursionError:
        raise _too_deep() from None
    except _CONSTRUCTING as error:
        raise YamlError(f"a value that can't be read ({type(error).__name__}: {error})") from None
    _check(value)
    return value


def _check(value: Any) -> None:
    level, seen = [value], 0
    for _ in range(_DEPTH + 1):
        below: list[Any] = []
        for current in level:
            _check_one(current)
            if isinstance(current, dict):
                below.extend(current.values())
            elif isinstance(current, list):
                below.extend(current)
            if seen + len(below) > _NODES:
                raise YamlError(f"more than {_NODES} values, aliases counted as what they repeat")
        if not below:
            return
        seen += len(below)
        level = below
    raise _too_deep()


def _check_one(value: Any) -> None:
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise YamlError(f"{_shown(key)} as a key, which is no text; put it in quotes")
            _check_text(key)
    elif isinstance(value, str):
        _check_text(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise YamlError(f"{value}, which is no finite number")
    elif isinstance(value, int) and abs(value) >= 10**_DIGITS:
        raise YamlError(f"a whole number of more than {_DIGITS} digits")
    elif not isinstance(value, (list, int, float, type(None))):
        raise YamlError(f"a {type(value).__name__}, {_shown(value)}; put it in quotes if it is text")


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise YamlError(f"half of a surrogate pair in {text[:60]!a}") from None


def _too_deep() -> YamlError:
    return YamlError(f"lists or mappings nested more than {_DEPTH} deep")


def _shown(value: Any) -> str:
    return ascii(value)[:60]
