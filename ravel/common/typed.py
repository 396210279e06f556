"""Plain values of files held against the types of a dataclass, versions of file forms, and `Record`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter
from typing_extensions import Self

from ravel.common.errors import SuiteError
from ravel.common.io import read_jsonl

_Column = tuple[str, frozenset[type], frozenset[str], "TypeAdapter[Any]"]
"""A field's type in words, types and texts that need no further look, and how other values are read."""


class Record:
    """Base of a flat, frozen dataclass whose fields are the keys of a JSON object. A subclass says what is
    particular to its files in the three class variables."""

    __slots__ = ()
    SCHEMA: ClassVar[int | None] = None
    """The newest version of the file's form; None for a record without a version of its own."""
    ADDED: ClassVar[tuple[str, ...]] = ()
    """Fields that came later than the first version: older files lack them, and they have defaults."""
    MEND: ClassVar[str] = "restore the file from the run that wrote it, or write it again"
    """What to do about a file that does not fit."""

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain values."""
        # `dataclasses.asdict` copies deeply, which takes ten times as long.
        return {name: getattr(self, name) for name in _names_of(type(self))}  # type: ignore[arg-type]  # a class is hashable

    @classmethod
    def from_json(cls, row: Any, *, origin: str) -> Self:
        """Read a record. Raises SuiteError naming `origin` for missing or unknown fields, a value of another
        type, a number that is not finite, or a newer version."""
        return cls(**cls.values_in(row, origin=origin))

    @classmethod
    def values_in(cls, row: Any, *, origin: str, but: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return the fields' values in their types, `but` those as they are. Errors as `from_json`."""
        if not isinstance(row, dict):
            raise SuiteError(
                expected=f"a {cls.__name__} in {origin}", came=f"a {type(row).__name__}", todo=cls.MEND
            )
        if cls.SCHEMA is not None and "schema_version" in row:
            check_version(row["schema_version"], cls.SCHEMA, what="records", origin=origin)
        cls._require_fields(row, origin)
        try:
            return cls._typed(row, origin, but)
        except SuiteError:
            _require_finite(row, origin, cls.MEND)
            raise

    @classmethod
    def _typed(cls, row: Mapping[str, Any], origin: str, but: tuple[str, ...]) -> dict[str, Any]:
        return typed_values(cls, row, origin=origin, todo=cls.MEND, but=but)

    @classmethod
    def read(cls, path: Path) -> list[Self]:
        """Read a file with a record a line. Raises SuiteError naming the line that does not fit."""
        return [cls.from_json(row, origin=f"{path}, line {line}") for line, row in read_jsonl(path)]

    @classmethod
    def _require_fields(cls, row: Mapping[str, Any], origin: str) -> None:
        known = _names_of(cls)  # type: ignore[arg-type]  # a class is hashable
        if row.keys() == known.keys():
            return
        missing, unknown = (
            sorted(known.keys() - row.keys() - set(cls.ADDED)),
            sorted(row.keys() - known.keys()),
        )
        if missing or unknown:
            raise SuiteError(
                expected=f"the fields of a {cls.__name__} in {origin}",
                came=f"missing: {', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}",
                todo=cls.MEND,
            )


def typed_values(
    record: type[Any], values: Mapping[str, Any], *, origin: str, todo: str, but: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return the values of a dataclass's fields, read from JSON or YAML, in the fields' types.

    Lists become tuples where the field is one. True is no whole number, text is no number, and no number is
    NaN. Fields named in `but`, and names that are no fields, are passed on as they are. Raises SuiteError
    naming `origin` and the first field whose value is of another type.
    """
    converted = dict(values)
    columns: Mapping[str, _Column] = _columns(record, but)  # type: ignore[arg-type]  # a class is hashable
    for name, column in columns.items():
        if name in converted:
            converted[name] = _converted(column, converted[name], name, origin, todo)
    return converted


def typed_value(hint: Any, value: Any, name: str, *, origin: str, todo: str) -> Any:
    """Return one value in the type that a hint says, as `typed_values` does for the field `name`."""
    return _converted(_column_of(hint), value, name, origin, todo)


def _converted(column: _Column, value: Any, name: str, origin: str, todo: str) -> Any:
    words, plain, texts, adapter = column
    kind = type(value)
    # Most values of a file are of these, and the adapter takes far longer.
    if (kind in plain and (kind is not float or math.isfinite(value))) or (kind is str and value in texts):
        return value
    try:
        # As JSON, in which a list may be read as a tuple and all else must be of the very type.
        return adapter.validate_json(json.dumps(value))
    except ValueError:
        raise SuiteError(expected=f"{words} as {name!r} in {origin}", came=shown(value), todo=todo) from None


def check_version(version: Any, known: int, *, what: str, origin: str) -> None:
    """Raise SuiteError unless `version` is a version of a file form that is known: 1 to `known`. A newer one
    is told apart: there the way out is an update of ravel-bench."""
    if type(version) is int and 1 <= version <= known:
        return
    newer = type(version) is int and version > known
    raise SuiteError(
        expected=f"{what} of schema version {known}{' or older' if known > 1 else ''} in {origin}",
        came=f"version {shown(version)}{', which is newer' if newer else ''}",
        todo="update ravel-bench, or read it with the newer ravel-bench that wrote it"
        if newer
        else "restore the file from where it was written",
    )


@lru_cache(maxsize=64)
def _columns(record: type[Any], but: tuple[str, ...]) -> dict[str, _Column]:
    hints = get_type_hints(record)
    return {field.name: _column_of(hints[field.name]) for field in fields(record) if field.name not in but}


@lru_cache(maxsize=64)
def _column_of(hint: Any) -> _Column:
    adapter = TypeAdapter(hint, config=ConfigDict(strict=True, allow_inf_nan=False))
    return _words(hint), frozenset(_plain(hint)), frozenset(_texts(hint)), adapter


def _plain(hint: Any) -> set[type]:
    if get_origin(hint) in (Union, UnionType):
        return set().union(*(_plain(option) for option in get_args(hint)))
    return {hint} if hint in (str, int, bool, float, type(None)) else set()


def _texts(hint: Any) -> set[str]:
    if get_origin(hint) in (Union, UnionType):
        return set().union(*(_texts(option) for option in get_args(hint)))
    return {text for text in get_args(hint) if type(text) is str} if get_origin(hint) is Literal else set()


def _words(hint: Any) -> str:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_words(option) for option in inner))
    if origin is Literal:
        return f"one of {', '.join(inner)}"
    if origin is tuple and inner[-1] is not Ellipsis:
        return f"a list of {len(inner)} entries, each {_words(inner[0])}"
    if origin is not None and issubclass(origin, Mapping):
        return "an object"
    if origin is not None and issubclass(origin, Sequence):
        return f"a list, each entry {_words(inner[0])}"
    known = {str: "text", int: "a whole number", float: "a finite number", bool: "true or false"}
    return known.get(hint, "null" if hint is type(None) else "a value")


def shown(value: Any) -> str:
    """Return a value as an error shows it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


@lru_cache(maxsize=64)
def _names_of(record: type[Any]) -> dict[str, None]:
    return dict.fromkeys(field.name for field in fields(record))


def _require_finite(row: Mapping[str, Any], origin: str, todo: str) -> None:
    bad = sorted(name for name, value in row.items() if not all(map(math.isfinite, _floats(value))))
    if bad:
        raise SuiteError(
            expected=f"finite numbers in {origin}", came=f"NaN or infinity in {', '.join(bad)}", todo=todo
        )


def _floats(value: Any) -> Iterable[float]:
    values = value if isinstance(value, (list, tuple)) else (value,)
    return (v for v in values if isinstance(v, float))
