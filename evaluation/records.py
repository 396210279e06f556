"""What is written down: an outcome per pair and a score per cell; typed, versioned, torch-free."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from ravel.common.errors import SuiteError
from ravel.schema import Generalisation, Partition, SourceKind

__all__ = ["SCORE_SCHEMA_VERSION", "Outcome", "ScoreRecord"]

SCORE_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the model said for one pair after the interchange, judged against both answers; no target is assumed."""

    pair_id: str
    """The pair, as in the instance."""
    attribute: str
    """What the base template asks for."""
    base_template: str
    """Unit of averaging, cluster of the bootstrap."""
    base_entity: str
    """Cluster of the bootstrap."""
    source_entity: str
    """For breakdowns."""
    source_kind: SourceKind
    """For breakdowns."""
    said_swapped: bool
    """The answer was `if_swapped`."""
    said_unchanged: bool
    """The answer was `if_unchanged`."""

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: dict[str, Any], *, origin: str) -> Outcome:
        """Read an outcome. Raises SuiteError naming `origin` for missing or unknown fields."""
        _check_fields(cls, row, origin)
        return cls(**row)


@dataclass(frozen=True, slots=True)
class ScoreRecord:
    """One line of `scores.jsonl`. Scores are unrounded; None only with a count of 0."""

    schema_version: int
    cell: str
    """Hash of all that determines the result."""
    method: str
    entity_type: str
    attribute: str
    """The target attribute."""
    model: str
    site: str
    size: int
    """Number of swapped coordinates."""
    seed: int
    generalisation: Generalisation
    partition: Partition
    cause: float | None
    isolate: float | None
    disentangle: float | None
    n_cause: int
    """Number of cause pairs."""
    n_isolate: int
    """Number of isolate pairs."""
    cause_interval: tuple[float, float] | None
    """95 % cluster-bootstrap interval."""
    isolate_interval: tuple[float, float] | None
    disentangle_interval: tuple[float, float] | None
    chosen: bool
    """True for the point that selection on validation pairs picked."""

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain values; intervals become lists."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: dict[str, Any], *, origin: str) -> ScoreRecord:
        """Read a record. Raises SuiteError naming `origin` for missing or unknown fields, or a newer schema."""
        _check_fields(cls, row, origin)
        values = dict(row)
        for name in ("cause_interval", "isolate_interval", "disentangle_interval"):
            values[name] = None if values[name] is None else tuple(values[name])
        return cls(**values)


def _check_fields(record: type[Any], row: dict[str, Any], origin: str) -> None:
    known = {field.name for field in fields(record)}
    missing, unknown = sorted(known - row.keys()), sorted(row.keys() - known)
    if missing or unknown:
        raise SuiteError(
            expected=f"the fields of a {record.__name__} in {origin}",
            came=f"missing: {', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}",
            todo="use a file written by this version of ravel-bench",
        )
