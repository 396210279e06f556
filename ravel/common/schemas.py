"""JSON values against the published schemas (draft 2020-12); what a file means is not known here."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from ravel.common.bundled import bundled_schemas
from ravel.common.errors import one_of
from ravel.common.io import read_json

SCHEMA_SUFFIX = ".schema.json"
_SHOWN = 100
"""Letters of a value that an error message shows."""
_MOST = 5
"""Problems of one value that are named; the first ones tell what is wrong."""


def schema_names() -> list[str]:
    """Return the names of the schemas: that of the file they describe, without its ending."""
    return sorted(
        path.name.removesuffix(SCHEMA_SUFFIX) for path in bundled_schemas().glob(f"*{SCHEMA_SUFFIX}")
    )


def schema_named(name: str) -> dict[str, Any]:
    """Return a schema. Raises SuiteError with near misses if there is none of this name."""
    path = bundled_schemas() / f"{name}{SCHEMA_SUFFIX}"
    one_of("schema", name, schema_names())
    schema: dict[str, Any] = read_json(path)
    return schema


def schema_problems(value: Any, name: str, *, origin: str) -> list[str]:
    """Return in words what of a value does not fit the schema, at most a handful; empty if all fits. An
    integer must be written as one: neither `true` nor `4.0` will do."""
    errors = sorted(
        _validator(name).iter_errors(value), key=lambda error: list(map(str, error.absolute_path))
    )
    return [f"{origin}: {_in_words(error)}" for error in errors[:_MOST]]


def schema_problems_of_rows(rows: Iterable[tuple[int, Any]], name: str, *, origin: str) -> list[str]:
    """Return the problems of the first of numbered rows that does not fit; empty if all fit."""
    for number, row in rows:
        if problems := schema_problems(row, name, origin=f"{origin}, line {number}"):
            return problems
    return []


@cache
def _validator(name: str) -> Any:
    return _Validator(schema_named(name))


def _is_integer(checker: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_Validator = extend(
    Draft202012Validator, type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer)
)


def _in_words(error: ValidationError) -> str:
    place = ".".join(map(str, error.absolute_path))
    shown = repr(error.instance)
    # The library's own sentence repeats the value, however long.
    said = error.message.replace(shown, "the value") if len(shown) > _SHOWN else error.message
    return f"{place + ': ' if place else ''}{said[: 3 * _SHOWN]}"
