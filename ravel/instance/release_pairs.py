"""Pairs as JSON Lines with the field names of official RAVEL instances; it knows no model and no folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ravel.common.errors import SuiteError
from ravel.common.io import read_jsonl, write_jsonl


@dataclass(frozen=True, slots=True)
class ReleasePair:
    """One pair as the official instances write it. `split` there means a template, not a partition."""

    input: str
    """The base prompt."""
    label: str
    """The model's label for the base prompt."""
    source_input: str
    """The source prompt."""
    source_label: str
    """The model's label for the source prompt; no score uses it."""
    inv_label: str
    """The model's label for the base template with the source entity."""
    split: str
    """The base template."""
    source_split: str
    """The source template."""
    entity: str
    """The base entity."""
    source_entity: str
    """The source entity."""


def write_release_pairs(path: Path, rows: Iterable[ReleasePair]) -> None:
    """Write pairs as JSON Lines, atomically."""
    write_jsonl(path, (asdict(row) for row in rows))


def import_release_pairs(path: Path) -> tuple[ReleasePair, ...]:
    """Read pairs from JSON Lines. Raises SuiteError naming the line for a missing or unknown field."""
    return tuple(_release_pair(row, f"line {number} of {path}") for number, row in read_jsonl(path))


def _release_pair(row: Mapping[str, Any], origin: str) -> ReleasePair:
    known = [field.name for field in fields(ReleasePair)]
    odd = [name for name in known if not isinstance(row.get(name), str)]
    unknown = sorted(row.keys() - set(known))
    if odd or unknown:
        raise SuiteError(
            expected=f"the text fields {', '.join(known)} on {origin}",
            came=f"missing or no text: {', '.join(odd) or 'none'}; unknown: {', '.join(unknown) or 'none'}",
            todo="export the pairs again, or rename the fields",
        )
    return ReleasePair(**row)
