"""Base of every config: frozen, unknown keys refused, YAML both ways; it knows no particular setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer
from typing_extensions import Self

from ravel.common.errors import SuiteError, near_misses
from ravel.common.io import read_text
from ravel.common.strict_yaml import YamlError, parse_yaml, to_yaml


class Config(BaseModel):
    """A frozen group of settings. `from_yaml(to_yaml(c)) == c` holds for each subclass (a test checks it)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    written_if_set: ClassVar[tuple[str, ...]] = ()
    """Settings of the class's own that came later: written only where they are not the default, so that files
    without them keep their bytes."""

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        fields, kinds = type(self).model_fields, type(self).__mro__
        for name in (name for kind in kinds for name in vars(kind).get("written_if_set", ())):
            if getattr(self, name) == fields[name].default:
                values.pop(name, None)
        return values

    @classmethod
    def from_mapping(cls, values: dict[str, Any], *, origin: str) -> Self:
        """Build the config from plain values. Raises SuiteError naming `origin`, the key and near misses."""
        try:
            config = cls.model_validate(values)
        except ValidationError as error:
            raise _readable(error, cls, origin) from None
        for name, given in values.items():
            # A name of an earlier version is taken and stands for another field.
            if _took_truth_for_number(given, getattr(config, name, None)):
                raise SuiteError(
                    expected=f"a number for {name!r} in {origin}",
                    came=f"true or false ({given!r}); YAML reads yes, no, on and off so",
                    todo="change that value",
                )
        return config

    @classmethod
    def from_yaml(cls, text: str, *, origin: str = "the given text") -> Self:
        """Read the config from YAML text. Raises SuiteError if it is no mapping or a value does not fit."""
        try:
            values = parse_yaml(text)
        except YamlError as error:
            raise SuiteError(expected=f"YAML in {origin}", came=str(error), todo="correct the file") from None
        if values is None:
            values = {}
        if not isinstance(values, dict):
            raise SuiteError(
                expected=f"a mapping of settings in {origin}",
                came=f"a {type(values).__name__}",
                todo=f"write one setting per line, known: {', '.join(cls.model_fields)}",
            )
        return cls.from_mapping(values, origin=origin)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read the config from a YAML file; the path is named in every error."""
        return cls.from_yaml(read_text(path), origin=str(path))

    def to_yaml(self) -> str:
        """Return the config as YAML, keys in declaration order."""
        return to_yaml(self.model_dump(mode="json"))


def _readable(error: ValidationError, config: type[Config], origin: str) -> SuiteError:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _fields_at(config, first["loc"][:-1])
        close = near_misses(key.rsplit(".", 1)[-1], known)
        hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
        todo = f"{hint}known settings: {', '.join(known)}"
        return SuiteError(expected=f"only known settings in {origin}", came=f"{key!r}", todo=todo)
    return SuiteError(
        expected=f"a valid value for {key!r} in {origin}",
        came=f"{first.get('input')!r} ({first['msg']})",
        todo="change that value",
    )


def _took_truth_for_number(given: Any, taken: Any) -> bool:
    """Tell whether pydantic made 0 or 1 of a false or true somewhere in a value."""
    if isinstance(given, bool):
        return isinstance(taken, (int, float)) and not isinstance(taken, bool)
    if isinstance(given, dict):
        of_name = taken.get if isinstance(taken, dict) else lambda name: getattr(taken, name, None)
        return any(_took_truth_for_number(value, of_name(name)) for name, value in given.items())
    if isinstance(given, (list, tuple)) and isinstance(taken, (list, tuple)) and len(given) == len(taken):
        return any(map(_took_truth_for_number, given, taken))
    return False


def _fields_at(config: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Return the settings known at a place inside a config; indices of lists lead nowhere else."""
    current = config
    for part in path:
        if isinstance(part, str) and part in current.model_fields:
            current = _config_in(current.model_fields[part].annotation) or current
    return list(current.model_fields)


def _config_in(annotation: Any) -> type[BaseModel] | None:
    """Return the first config that an annotation names, such as the entries of a tuple."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((inner for part in get_args(annotation) if (inner := _config_in(part))), None)
