"""Isolate by dependence as it lies on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from evaluation.records.scores import Interval
from ravel.common.errors import SuiteError
from ravel.common.io import read_jsonl
from ravel.common.typed import check_version, typed_values
from ravel.terms.schema import Generalisation, Partition

__all__ = ["ALL_OTHERS", "BREAKDOWN_SCHEMA_VERSION", "PARTS", "BreakdownRecord", "Part", "read_breakdowns"]


BREAKDOWN_SCHEMA_VERSION = 1


_MEND = "remove the file and run ravel report, which makes it again"


ALL_OTHERS = "*"
"""In place of the asked attribute: the mean over all attributes but the target."""


PARTS: tuple[Part, Part] = ("same", "changes")


@dataclass(frozen=True, slots=True)
class BreakdownRecord:
    """One line of `breakdowns.jsonl`: isolate of a chosen point on a part of the isolate pairs."""

    schema_version: int
    """`BREAKDOWN_SCHEMA_VERSION` of the writer."""
    method: str
    """As on the command line."""
    entity_type: str
    """As in the instance."""
    model: str
    """Name of the target model."""
    attribute: str
    """The target attribute."""
    seeds: tuple[int, ...]
    """The seeds that were averaged."""
    generalisation: Generalisation
    """What is held out."""
    partition: Partition
    """`val` or `test`."""
    asked: str
    """The attribute that the pairs ask for, or `ALL_OTHERS`."""
    by: str
    """The attribute whose value stays or changes between base and source entity."""
    part: Part
    """Which pairs count."""
    isolate: float | None
    """Share that kept the base's answer, macro over templates, then attributes; None exactly if `n` is 0."""
    isolate_interval: Interval | None
    """95 %, with entities and templates as clusters."""
    n: int
    """Number of pairs in the part."""
    of: int
    """Number of pairs in both parts and of unknown value."""
    reason: str | None
    """Why the part is empty; None if it is not."""

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain values."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_json(cls, row: Mapping[str, Any], *, origin: str) -> BreakdownRecord:
        """Read a record. Raises SuiteError naming `origin` for another schema version or other fields."""
        if "schema_version" in row:
            check_version(row["schema_version"], BREAKDOWN_SCHEMA_VERSION, what="records", origin=origin)
        known = {field.name for field in fields(cls)}
        if row.keys() != known:
            raise SuiteError(
                expected=f"a BreakdownRecord of schema version {BREAKDOWN_SCHEMA_VERSION} in {origin}",
                came=f"version {row.get('schema_version')} with {', '.join(sorted(row))}",
                todo=_MEND,
            )
        return cls(**typed_values(cls, row, origin=origin, todo=_MEND))


def read_breakdowns(path: Path) -> list[BreakdownRecord]:
    """Read `breakdowns.jsonl`. Raises SuiteError naming the line that does not fit."""
    rows = read_jsonl(path)
    return [BreakdownRecord.from_json(row, origin=f"{path}, line {line}") for line, row in rows]


Part = Literal["same", "changes"]
