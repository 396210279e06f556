"""What there is of an entity type, as plain values, and its tables written in either format; no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ravel.common.errors import one_of
from ravel.common.folders import new_folder
from ravel.entity_types import ENTITY_TYPES
from ravel.facts.release import write_release
from ravel.facts.tables import Tables, read_bundled, write_tables
from ravel.terms.schema import PARTITIONS, EntityType

TABLE_FORMATS: Mapping[str, Callable[[Tables, Path], None]] = {
    "release": write_release,
    "jsonl": write_tables,
}
"""How tables can be written: as the official release, or in the suite's own layout."""


def entity_type_rows() -> list[dict[str, Any]]:
    """Return every entity type with name, description, licence, attributes and how much of it is bundled."""
    return [_overview(entity_type) for entity_type in ENTITY_TYPES]


def _overview(entity_type: EntityType) -> dict[str, Any]:
    tables = read_bundled(entity_type.name) if entity_type.bundled else None
    return {
        "name": entity_type.name,
        "description": entity_type.description,
        "licence": entity_type.licence,
        "bundled": entity_type.bundled,
        "release": entity_type.release,
        "attributes": [attribute.name for attribute in entity_type.attributes],
        "entities": None if tables is None else len(tables.entities),
        "templates": None if tables is None else len(tables.templates),
    }


def describe_tables(tables: Tables) -> dict[str, Any]:
    """Return counts by partition and an example of everything, attribute by attribute."""
    entity_type, example = tables.entity_type, tables.entities[0]
    return {
        "name": entity_type.name,
        "description": entity_type.description,
        "licence": entity_type.licence,
        "entities": _counts([facts.partition for facts in tables.entities]),
        "example_entity": example.entity,
        "attribute_free": _counts([template.partition for template in tables.templates_for(None)]),
        "attributes": [_shown_attribute(tables, name) for name in tables.attributes()],
    }


def _shown_attribute(tables: Tables, name: str) -> dict[str, Any]:
    values = [dict(facts.values).get(name, "") for facts in tables.entities]
    templates = tables.templates_for(name)
    return {
        "name": name,
        "description": tables.entity_type.attribute(name).description,
        "distinct_values": len({value for value in values if value.strip()}),
        "templates": _counts([template.partition for template in templates]),
        "example": values[0],
        "example_template": templates[0].text,
    }


def _counts(partitions: Sequence[str]) -> dict[str, int]:
    return {partition: list(partitions).count(partition) for partition in PARTITIONS}


def export_tables(tables: Tables, style: str, out: Path) -> None:
    """Write tables as a new folder in one of `TABLE_FORMATS`, wholly or not at all. Raises SuiteError for an
    unknown format and where no new folder can be made."""
    one_of("export format", style, TABLE_FORMATS)
    with new_folder(out) as staging:
        TABLE_FORMATS[style](tables, staging)
