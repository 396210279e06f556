"""Single settings of a config by their place, `methods.0.config.epochs=5`; it knows no particular setting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from ravel.common.config import Config
from ravel.common.errors import SuiteError
from ravel.common.strict_yaml import YamlError, parse_yaml

AnyConfig = TypeVar("AnyConfig", bound=Config)


def assigned(config: AnyConfig, assignments: Sequence[str], *, origin: str) -> AnyConfig:
    """Return a config with settings in place of its own, each given as `key=value`, the value as in YAML.

    Parts of a key lead inwards with dots between them, a number into a list. Raises SuiteError, naming
    `origin`, for what is no assignment, a place that there is not, and a value that does not fit.
    """
    if not assignments:
        return config
    values = config.model_dump(mode="json")
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise _wrong(origin, assignment, "write it with one = and no blanks, such as seeds=[0,1]")
        try:
            value = parse_yaml(text)
        except YamlError as error:
            raise _wrong(origin, f"{assignment!r} ({error})", "write the value as in a YAML file") from None
        *parents, last = key.split(".")
        place: Any = values
        for part in parents:
            place = _inside(place, part, assignment, origin)
        _set(place, last, value, assignment, origin)
    return type(config).from_mapping(values, origin=origin)


def _inside(place: Any, part: str, assignment: str, origin: str) -> Any:
    """Return what lies at a part of a key; a mapping that is not there yet is made."""
    if isinstance(place, dict):
        if place.get(part) is None:
            place[part] = {}
        return place[part]
    return place[_index(place, part, assignment, origin)]


def _set(place: Any, part: str, value: Any, assignment: str, origin: str) -> None:
    if isinstance(place, dict):
        place[part] = value
    else:
        place[_index(place, part, assignment, origin)] = value


def _index(place: Any, part: str, assignment: str, origin: str) -> int:
    if isinstance(place, list) and part.isdecimal() and int(part) < len(place):
        return int(part)
    there = f"a list of {len(place)}, numbered from 0" if isinstance(place, list) else f"the value {place!r}"
    raise _wrong(origin, assignment, f"there is no {part!r} inside {there}")


def _wrong(origin: str, came: str, todo: str) -> SuiteError:
    return SuiteError(expected=f"key=value with the place of a setting for {origin}", came=came, todo=todo)
