"""Where tables come from, by one word: the bundle, a folder of ours, or a release."""

from __future__ import annotations

from pathlib import Path

from ravel.common.errors import SuiteError
from ravel.entity_types import ENTITY_TYPES
from ravel.facts.release import read_release
from ravel.facts.tables import ENTITIES_FILE, Tables, read_bundled, read_tables

BUNDLED = "bundled"
"""The word that stands for the tables shipped with the suite."""
_SPREADSHEETS = (".csv", ".tsv", ".xlsx", ".ods")


def open_tables(source: str, entity_type_name: str) -> Tables:
    """Read the tables of a type from `bundled`, a folder in our layout, or a release. A folder with
    `entities.jsonl` is in our layout; any other folder, an archive or the hub id is read as a release. Raises
    SuiteError for an unknown type and for whatever the readers refuse."""
    path = Path(source).expanduser()
    if path.suffix.lower() in _SPREADSHEETS and path.is_file():
        raise _of_a_spreadsheet(path, entity_type_name)
    entity_type = ENTITY_TYPES.get(entity_type_name)
    if source == BUNDLED:
        return read_bundled(entity_type.name)
    if (path / ENTITIES_FILE).is_file():
        return read_tables(path, entity_type)
    return read_release(source if not path.exists() else path, entity_type.name)


def _of_a_spreadsheet(path: Path, name: str) -> SuiteError:
    # Asked before the type: whoever comes with a CSV has not declared one yet.
    saved = "" if path.suffix.lower() in (".csv", ".tsv") else "save the sheet as CSV, then "
    return SuiteError(
        expected="facts with templates and partitions: a folder of our layout or a RAVEL release",
        came=f"the table {path}",
        todo=f"{saved}let `ravel data new {name} --csv {path.with_suffix('.csv')} --entity-column COLUMN` "
        f"write a folder from it, and give that folder",
    )
