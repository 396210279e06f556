"""Where tables come from, by one word: the bundle, a folder of ours, or a release."""

from __future__ import annotations

from pathlib import Path

from ravel.entity_types import ENTITY_TYPES
from ravel.facts.release import read_release
from ravel.facts.tables import ENTITIES_FILE, Tables, read_bundled, read_tables

__all__ = ["BUNDLED", "open_tables"]

BUNDLED = "bundled"
"""The word that stands for the tables shipped with the suite."""


def open_tables(source: str, entity_type_name: str) -> Tables:
    """Read the tables of a type from `bundled`, a folder in our layout, or a release. A folder with
    `entities.jsonl` is in our layout; any other folder, an archive or the hub id is read as a release. Raises
    SuiteError for an unknown type and for whatever the readers refuse."""
    entity_type = ENTITY_TYPES.get(entity_type_name)
    if source == BUNDLED:
        return read_bundled(entity_type.name)
    path = Path(source).expanduser()
    if (path / ENTITIES_FILE).is_file():
        return read_tables(path, entity_type)
    return read_release(source if not path.exists() else path, entity_type.name)
