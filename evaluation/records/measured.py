"""Records that hold measures: a mapping in memory, flat fields on disk. Which measures a record has, it says
itself; what they mean is the business of its track."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from typing_extensions import Self

from ravel.common.errors import SuiteError
from ravel.common.typed import Record, typed_value

Interval = tuple[float, float]
INTERCHANGE = "interchange"
"""The track of records that name none: the first there was."""
FIRST_METRIC = "v1"
"""The metric version of records that name none."""
_ITS_MEASURES = {"cause": True, "isolate": True, "disentangle": False}
"""The measures of that track, and whether each has a count of its own."""
_INTERVAL = "_interval"
_COUNT = "n_"


@dataclass(frozen=True, slots=True)
class Measured:
    """One measure as a record states it."""

    value: float | None
    """Unrounded; None where it is not defined."""
    interval: Interval | None = None
    """95 %, with entities and templates as clusters."""
    n: int | None = None
    """Number of cases behind it; None where the record states none, as for a measure made of others."""


class MeasuredRecord(Record):
    """Base of records with a field `measures`, by name. On disk the measure `cause` is the fields `cause`,
    `cause_interval` and, where its cases are counted, `n_cause`; a track and a metric version are named
    unless they are the first."""

    __slots__ = ()
    COUNTED: ClassVar[bool] = True
    """Whether the record says how many cases are behind a measure."""
    UNLIKE: ClassVar[tuple[str, ...]] = ("measures", "track", "metric")
    """Fields that are not one key of the same name in every line."""
    track: str
    metric: str
    measures: Mapping[str, Measured]

    def value(self, measure: str) -> float | None:
        """Return the value of a measure."""
        return self.measures[measure].value

    def interval(self, measure: str) -> Interval | None:
        """Return its 95 % interval."""
        return self.measures[measure].interval

    def n(self, measure: str) -> int:
        """Return the number of cases behind it: of a measure made of others, those of all of them."""
        own = self.measures[measure].n
        return self.cases if own is None else own

    @property
    def cases(self) -> int:
        """Number of cases behind all measures together."""
        return sum(measured.n or 0 for measured in self.measures.values())

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain values."""
        plain: dict[str, Any] = {}
        for field in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            if field.name == "measures":
                plain |= self.flat()
            elif field.name not in self.UNLIKE:
                plain[field.name] = getattr(self, field.name)
        said = {"track": (self.track, INTERCHANGE), "metric": (self.metric, FIRST_METRIC)}
        return plain | {name: value for name, (value, first) in said.items() if value != first}

    def flat(self) -> dict[str, Any]:
        """Return what of the measures stands in a line: values, counts, intervals."""
        own = self.measures.items()
        return {
            **{name: measured.value for name, measured in own},
            **{_COUNT + name: measured.n for name, measured in own if measured.n is not None},
            **{name + _INTERVAL: measured.interval for name, measured in own},
        }

    @classmethod
    def from_json(cls, row: Any, *, origin: str) -> Self:
        """Read a record. Raises SuiteError as `Record.from_json` does."""
        values = cls.values_in(row, origin=origin)
        own = {field.name for field in fields(cls)}  # type: ignore[arg-type]  # every subclass is a dataclass
        return cls(**{name: value for name, value in values.items() if name in own})

    @classmethod
    def _typed(cls, row: Mapping[str, Any], origin: str, but: tuple[str, ...]) -> dict[str, Any]:
        values = super()._typed(row, origin, but)
        for key, hint in cls._keys(row).items():
            values[key] = typed_value(hint, row[key], key, origin=origin, todo=cls.MEND)
        values["measures"] = {
            name: Measured(values[name], values[name + _INTERVAL], values.get(_COUNT + name))
            for name in names_in(row)
        }
        return values

    @classmethod
    def _keys(cls, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keys that measures have in a line, with their types."""
        keys: dict[str, Any] = {}
        for name, counted in _measures_in(row).items():
            keys |= {name: float | None, name + _INTERVAL: Interval | None}
            keys |= {_COUNT + name: int} if counted and cls.COUNTED else {}
        return keys

    @classmethod
    def _require_fields(cls, row: Mapping[str, Any], origin: str) -> None:
        own = {f.name for f in fields(cls)} - set(cls.UNLIKE)  # type: ignore[arg-type]  # a dataclass
        known = own.union(cls._keys(row))
        missing = sorted(known - row.keys() - set(cls.ADDED))
        unknown = sorted(row.keys() - known - {"track", "metric"})
        if missing or unknown:
            raise SuiteError(
                expected=f"the fields of a {cls.__name__} in {origin}",
                came=f"missing: {', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}",
                todo=cls.MEND,
            )


def names_in(row: Mapping[str, Any]) -> list[str]:
    """Return the measures of a line: those of the first track, or whatever has an interval."""
    return list(_measures_in(row))


def _measures_in(row: Mapping[str, Any]) -> Mapping[str, bool]:
    """Return the measures of a line, and whether each has a count of its own."""
    if row.get("track", INTERCHANGE) == INTERCHANGE:
        return _ITS_MEASURES
    names = [key.removesuffix(_INTERVAL) for key in row if key.endswith(_INTERVAL)]
    return {name: _COUNT + name in row for name in names}
