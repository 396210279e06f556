"""Facts and templates of one entity type as frozen tables, and their JSON Lines folder; it knows no model.

Folder format, one JSON object per line:
  entities.jsonl    {"entity", "partition", "values": {attribute: value}}
  templates.jsonl   {"attribute": name or null, "entity": name or null, "partition", "template"}, and
                    "chat": true where the model is to be asked through its chat template
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from ravel.common.bundled import bundled_path
from ravel.common.errors import SuiteError, unknown_name
from ravel.common.io import (
    canonical_json,
    make_folder,
    read_json,
    read_jsonl,
    sha256_file,
    sha256_text,
    write_text,
)
from ravel.entity_types import ENTITY_TYPES
from ravel.terms.schema import PARTITIONS, SLOT, EntityFacts, EntityType, Partition, Template

T = TypeVar("T")
U = TypeVar("U")

ENTITIES_FILE = "entities.jsonl"
TEMPLATES_FILE = "templates.jsonl"
CHECKSUMS_FILE = "checksums.json"


@dataclass(frozen=True)
class Tables:
    """All facts and templates of one entity type, in the order of their source. Built by `tables_from`,
    `read_tables` or a release reader, which refuse doubles and undeclared names."""

    entity_type: EntityType
    """The declaration that the data follows."""
    entities: tuple[EntityFacts, ...]
    """Each entity once."""
    templates: tuple[Template, ...]
    """Each text once among those that ask for an attribute, and once among those that ask for none; once
    more if it is asked through a chat template too."""

    def attributes(self) -> tuple[str, ...]:
        """Return the attributes that have templates and at least one value, in the type's order."""
        return self._attributes

    def facts(self, entity: str) -> EntityFacts:
        """Return what is known of an entity. Raises SuiteError with near misses."""
        if entity not in self._by_name:
            raise _unknown_entity(entity, self)
        return self._by_name[entity]

    def templates_for(self, attribute: str | None) -> tuple[Template, ...]:
        """Return the templates that ask for the attribute, or the attribute-free ones for None."""
        if attribute is not None:
            self.entity_type.attribute(attribute)
        return tuple(template for template in self.templates if template.attribute == attribute)

    def columns(self) -> dict[str, dict[str, str]]:
        """Return {attribute: {entity: value}}, attributes in the type's order, blank values included."""
        columns: dict[str, dict[str, str]] = {attribute.name: {} for attribute in self.entity_type.attributes}
        for facts in self.entities:
            for name, value in facts.values:
                columns[name][facts.entity] = value
        return columns

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all facts and templates, in their order, whatever file they came from."""
        parts = [
            self.entity_type.name,
            [asdict(e) for e in self.entities],
            [asdict(t) for t in self.templates],
        ]
        return sha256_text(canonical_json(parts))

    @cached_property
    def _attributes(self) -> tuple[str, ...]:
        asked = {template.attribute for template in self.templates}
        known = {name for facts in self.entities for name, value in facts.values if value.strip()}
        return tuple(a.name for a in self.entity_type.attributes if a.name in asked and a.name in known)

    @cached_property
    def _by_name(self) -> dict[str, EntityFacts]:
        return {facts.entity: facts for facts in self.entities}


@dataclass(frozen=True, slots=True)
class Located(Generic[T]):
    """A row with the place it was read from, so that an error about it can say where to look."""

    row: T
    """The facts or the template."""
    where: str
    """For instance `line 7 of cities/entities.jsonl`."""


def tables_from(
    entity_type: EntityType, entities: Iterable[Located[EntityFacts]], templates: Iterable[Located[Template]]
) -> Tables:
    """Build tables from checked rows. Raises SuiteError for an entity or a template that stands twice, a
    template bound to an entity that is not there, and no entities or no templates at all."""
    kept_entities = _without_doubles("entity", entities, lambda facts: facts.entity)
    kept_templates = list(templates)
    _without_doubles("template", kept_templates, lambda t: (t.text, t.attribute is None, t.chat))
    tables = Tables(entity_type, kept_entities, tuple(located.row for located in kept_templates))
    for located in kept_templates:
        if located.row.entity is not None and located.row.entity not in tables._by_name:
            raise SuiteError(
                expected=f"the entity of the template at {located.where} to be in the table of entities",
                came=f"{located.row.entity!r}",
                todo="add the entity, or use null if any entity fits",
            )
    if not tables.entities or not tables.templates:
        raise SuiteError(
            expected=f"entities and templates of type {entity_type.name}",
            came=f"{len(tables.entities)} entities and {len(tables.templates)} templates",
            todo="give a folder that holds both",
        )
    return tables


def read_tables(folder: Path, entity_type: EntityType) -> Tables:
    """Read the JSON Lines folder of a type. Raises SuiteError with file and line for what is out of order."""
    return tables_from(
        entity_type,
        [facts_row(row, where, entity_type) for row, where in _rows(folder / ENTITIES_FILE)],
        [template_row(row, where, entity_type) for row, where in _rows(folder / TEMPLATES_FILE)],
    )


def write_tables(tables: Tables, folder: Path) -> None:
    """Write the JSON Lines folder of a type; reading it back gives equal tables, orders included."""
    make_folder(folder)
    entities = (
        {"entity": facts.entity, "partition": facts.partition, "values": dict(facts.values)}
        for facts in tables.entities
    )
    templates = (
        {
            "attribute": t.attribute,
            "entity": t.entity,
            "partition": t.partition,
            "template": t.text,
            **({"chat": True} if t.chat else {}),
        }
        for t in tables.templates
    )
    write_text(folder / ENTITIES_FILE, _lines(entities))
    write_text(folder / TEMPLATES_FILE, _lines(templates))


def read_bundled(name: str) -> Tables:
    """Read the shipped tables of a type, by name, and compare their checksums. Raises SuiteError if the type
    is unknown, is not shipped, or its files are not those that were shipped."""
    entity_type = ENTITY_TYPES.get(name)
    if not entity_type.bundled:
        shipped = [t.name for t in ENTITY_TYPES if t.bundled]
        raise SuiteError(
            expected=f"a bundled entity type ({', '.join(shipped)})",
            came=f"{name!r}, which is not shipped",
            todo="give the path of a RAVEL release folder or .tgz with --data",
        )
    folder = bundled_path(name)
    _compare_checksums(folder)
    return read_tables(folder, entity_type)


def checked_facts(
    entity: Any, partition: Any, values: Any, *, entity_type: EntityType, where: str
) -> Located[EntityFacts]:
    """Build the facts of one entity from plain values, keeping each string as it is. Raises SuiteError naming
    `where` for an empty name, an unknown partition or attribute, no values, or a value that is not text."""
    if not isinstance(entity, str) or not entity.strip():
        raise _refused("an entity's name", where, repr(entity), "give it a name that is not blank")
    if not isinstance(values, dict) or not values:
        came = "none" if values in ({}, None) else f"a {type(values).__name__}"
        todo = "give at least one attribute with its value, or remove the entity"
        raise _refused(f"values for {entity!r}", where, came, todo)
    declared = {attribute.name for attribute in entity_type.attributes}
    for name, value in values.items():
        if name not in declared:
            raise _undeclared(name, entity_type, where)
        if not isinstance(value, str):
            todo = "write every value as a string, numbers as well"
            raise _refused(f"text as the {name} of {entity!r}", where, repr(value), todo)
    return Located(EntityFacts(entity, checked_partition(partition, where), tuple(values.items())), where)


def checked_template(
    text: Any,
    attribute: Any,
    entity: Any,
    partition: Any,
    *,
    chat: Any = False,
    entity_type: EntityType,
    where: str,
) -> Located[Template]:
    """Build a template from plain values. Raises SuiteError naming `where` for a text that is none, an
    unknown partition or attribute, an entity that is not text, or a `chat` that is no truth value."""
    if not isinstance(text, str):
        raise _refused("a template", where, repr(text), "write it as a string")
    _check_slot(text, where)
    if attribute is not None and not isinstance(attribute, str):
        raise _refused("an attribute or null", where, repr(attribute), "write the name as a string")
    if attribute is not None and attribute not in {a.name for a in entity_type.attributes}:
        raise _undeclared(attribute, entity_type, where)
    if entity is not None and not isinstance(entity, str):
        raise _refused("an entity's name or null", where, repr(entity), "write the name as a string")
    if not isinstance(chat, bool):
        todo = "write true where the model is to be asked through its chat template, or leave it out"
        raise _refused("true or false as chat", where, repr(chat), todo)
    return Located(Template(text, attribute, checked_partition(partition, where), entity, chat), where)


def checked_partition(partition: Any, where: str) -> Partition:
    """Return the partition. Raises SuiteError naming `where` if it is none of train, val and test."""
    for known in PARTITIONS:
        if partition == known:
            return known
    places = f"{where}, one of {', '.join(PARTITIONS)}"
    raise _refused("a partition", places, repr(partition), "correct the partition")


def _check_slot(text: str, where: str) -> None:
    slots = text.count(SLOT)
    if slots == 1 and text.count("%") == 1:
        return
    came = {0: f"no {SLOT}", 1: "another % beside it"}.get(slots, f"{slots} of them")
    todo = f"write {SLOT} once, where the entity's name goes, and spell out other per cent signs"
    raise _refused(f"a template with {SLOT} exactly once and no other %", where, f"{came} in {text!r}", todo)


def _without_doubles(kind: str, rows: Iterable[Located[T]], key: Callable[[T], Any]) -> tuple[T, ...]:
    seen: dict[Any, str] = {}
    kept: list[T] = []
    for located in rows:
        identity = key(located.row)
        if identity in seen:
            name = identity[0] if isinstance(identity, tuple) else identity
            raise SuiteError(
                expected=f"each {kind} once",
                came=f"{name!r} at {seen[identity]} and again at {located.where}",
                todo="remove one of the two",
            )
        seen[identity] = located.where
        kept.append(located.row)
    return tuple(kept)


def _rows(path: Path) -> Iterable[tuple[dict[str, Any], str]]:
    return ((row, f"line {number} of {path}") for number, row in read_jsonl(path))


def facts_row(row: dict[str, Any], where: str, entity_type: EntityType) -> Located[EntityFacts]:
    """Return what a line of `entities.jsonl` says. Raises SuiteError naming `where`, as `checked_facts`."""
    _check_keys(row, ("entity", "partition", "values"), where)
    return checked_facts(row["entity"], row["partition"], row["values"], entity_type=entity_type, where=where)


def template_row(row: dict[str, Any], where: str, entity_type: EntityType) -> Located[Template]:
    """Return what a line of `templates.jsonl` says. Raises SuiteError as `checked_template` does."""
    needed = {name: value for name, value in row.items() if name != "chat"}
    _check_keys(needed, ("attribute", "entity", "partition", "template"), where)
    return checked_template(
        row["template"],
        row["attribute"],
        row["entity"],
        row["partition"],
        chat=row.get("chat", False),
        entity_type=entity_type,
        where=where,
    )


def _check_keys(row: dict[str, Any], keys: tuple[str, ...], where: str) -> None:
    if set(row) != set(keys):
        todo = "add what is missing and remove what is unknown"
        raise _refused(f"exactly the keys {', '.join(keys)}", where, ", ".join(row) or "none", todo)


def _lines(rows: Iterable[dict[str, Any]]) -> str:
    # Not write_jsonl: it sorts keys, and the order of an entity's values is part of the data.
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _compare_checksums(folder: Path) -> None:
    expected = read_json(folder / CHECKSUMS_FILE)
    for name in (ENTITIES_FILE, TEMPLATES_FILE):
        if not isinstance(expected, dict) or expected.get(name) != sha256_file(folder / name):
            raise SuiteError(
                expected=f"{folder / name} as it was shipped",
                came="a file with another checksum",
                todo="reinstall ravel-bench, or copy the folder elsewhere and give its path with --data",
            )


def _refused(expected: str, where: str, came: str, todo: str) -> SuiteError:
    return SuiteError(expected=f"{expected} at {where}", came=came, todo=todo)


def _undeclared(name: Any, entity_type: EntityType, where: str) -> SuiteError:
    known = (attribute.name for attribute in entity_type.attributes)
    return unknown_name(f"attribute of {entity_type.name} at {where}", str(name), known)


def _unknown_entity(entity: str, tables: Tables) -> SuiteError:
    error = unknown_name(tables.entity_type.name, entity, (facts.entity for facts in tables.entities))
    hint = error.todo.partition("known: ")[0].strip()
    todo = f"{hint} the table has {len(tables.entities)} entities".strip()
    return SuiteError(expected=error.expected, came=error.came, todo=todo)
