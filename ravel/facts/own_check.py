"""Own facts checked while they are edited: every fault of a folder at once, each with its file and line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ravel.common.errors import SuiteError
from ravel.common.io import json_of_line, numbered_lines
from ravel.common.registry.plugins import members_of_files
from ravel.entity_types import ENTITY_TYPES
from ravel.facts.own_facts import NO_LICENCE, skeletons
from ravel.facts.tables import (
    ENTITIES_FILE,
    TEMPLATES_FILE,
    Located,
    Tables,
    checked_facts,
    checked_partition,
    checked_template,
    facts_row,
    template_row,
)
from ravel.terms.mentions import mentions, same_text
from ravel.terms.schema import PARTITIONS, SLOT, EntityFacts, EntityType, Template

T = TypeVar("T")
_Reader = Callable[[dict[str, Any], str, EntityType], Located[T]]
_Parts = Callable[[dict[str, Any], str, EntityType], list[Callable[[], object]]]


@dataclass(slots=True)
class CheckedFacts:
    """What a folder of facts holds, and what is wrong with it."""

    entity_type: str
    """The type that it is held against."""
    entities: int = 0
    """Entities that could be read."""
    templates: int = 0
    """Templates that could be read."""
    faults: list[str] = field(default_factory=list)
    """What no build would read, a sentence each, with file and line."""
    notes: list[str] = field(default_factory=list)
    """What a build reads but scores suffer from, likewise."""


def check_facts(folder: Path, entity_type_name: str | None = None) -> CheckedFacts:
    """Hold both files of a folder against an entity type: by default the one that the only Python file in
    the folder declares. Raises SuiteError for a type that can't be had or a file that is not there; all else
    that is wrong is returned, with its place."""
    entity_type = _declared_in(folder) if entity_type_name is None else ENTITY_TYPES.get(entity_type_name)
    found = CheckedFacts(entity_type.name)
    entities = list(_rows(folder / ENTITIES_FILE, entity_type, found, facts_row, _parts_of_facts))
    templates = list(_rows(folder / TEMPLATES_FILE, entity_type, found, template_row, _parts_of_template))
    found.entities, found.templates = len(entities), len(templates)
    _tell_doubles(found, entities, lambda facts: (facts.entity,))
    _tell_doubles(found, templates, lambda t: (t.text, t.attribute is None, t.chat))
    _tell_strangers(found, entities, templates)
    found.notes += _notes_of_templates(entities, templates)
    rows = tuple(e.row for e in entities), tuple(t.row for t in templates)
    found.notes += _notes_of_the_whole(Tables(entity_type, *rows))
    return found


def _declared_in(folder: Path) -> EntityType:
    files = sorted(folder.glob("*.py"))
    if len(files) != 1:
        raise SuiteError(
            expected=f"one Python file in {folder}, with the declaration of the entity type",
            came=", ".join(file.name for file in files) or "none",
            todo="name a type that is known with --entity-type, or begin with `ravel data new`",
        )
    declared = [member.thing for member in members_of_files(files, "ENTITY_TYPE")]
    if not declared or not isinstance(declared[0], EntityType):
        raise SuiteError(
            expected=f"an EntityType as ENTITY_TYPE in {files[0]}",
            came=ascii(declared[0])[:120] if declared else "no such name",
            todo="declare it there as docs/how-to/add-an-entity-type.md shows",
        )
    if any(known.name == declared[0].name and known != declared[0] for known in ENTITY_TYPES):
        raise SuiteError(
            expected=f"a type of a new name in {files[0]}",
            came=f"{declared[0].name!r}, which is registered already",
            todo="choose another name",
        )
    return declared[0]


def _rows(
    path: Path, entity_type: EntityType, found: CheckedFacts, reader: _Reader[T], parts: _Parts
) -> Iterator[Located[T]]:
    """Yield the rows that can be read; what is wrong with the others is added to what was found."""
    for number, line in numbered_lines(path):
        where = f"line {number} of {path}"
        try:
            row = json_of_line(path, number, line)
        except SuiteError as error:
            found.faults.append(str(error))
            continue
        try:
            yield reader(row, where, entity_type)
        except SuiteError as error:
            found.faults += _each_once(str(error), parts(row, where, entity_type))


def _each_once(first: str, readings: Sequence[Callable[[], object]]) -> list[str]:
    said = {first: None}
    for reading in readings:
        try:
            reading()
        except SuiteError as error:
            said[str(error)] = None
    return list(said)


def _parts_of_facts(row: dict[str, Any], where: str, entity_type: EntityType) -> list[Callable[[], object]]:
    """Return readings of what a row says, one by one, so that the first fault does not hide the others."""
    if set(row) != {"entity", "partition", "values"} or not isinstance(row["values"], dict):
        return []
    one = partial(checked_facts, row["entity"], PARTITIONS[0], entity_type=entity_type, where=where)
    values = [partial(one, {name: value}) for name, value in row["values"].items()]
    return [partial(checked_partition, row["partition"], where), *values]


def _parts_of_template(
    row: dict[str, Any], where: str, entity_type: EntityType
) -> list[Callable[[], object]]:
    if not {"attribute", "entity", "partition", "template"} <= set(row):
        return []
    one = partial(checked_template, partition=PARTITIONS[0], entity_type=entity_type, where=where)
    return [
        partial(one, row["template"], None, None),
        partial(one, SLOT, row["attribute"], None),
        partial(one, SLOT, None, row["entity"]),
        partial(one, SLOT, None, None, chat=row.get("chat", False)),
        partial(checked_partition, row["partition"], where),
    ]


def _tell_doubles(
    found: CheckedFacts, rows: Sequence[Located[T]], identity: Callable[[T], tuple[Any, ...]]
) -> None:
    """Tell what stands twice: a fault if it is the same, a note if case and blanks differ."""
    same: dict[object, str] = {}
    alike: dict[object, str] = {}
    for located in rows:
        text, *rest = identity(located.row)
        first = same.setdefault((text, *rest), located.where)
        near = alike.setdefault((same_text(text), *rest), located.where)
        if first != located.where:
            found.faults.append(
                f"At {located.where}: {text!r} stands at {first} already; remove one of the two."
            )
        elif near != located.where:
            found.notes.append(
                f"At {located.where}: {text!r} differs from {near} in case or blanks only; of two partitions "
                "a build takes it once."
            )


def _tell_strangers(
    found: CheckedFacts, entities: Sequence[Located[EntityFacts]], templates: Sequence[Located[Template]]
) -> None:
    names = {each.row.entity for each in entities}
    for template in templates:
        if template.row.entity is not None and template.row.entity not in names:
            found.faults.append(
                f"At {template.where}: the entity {template.row.entity!r} is not among those of "
                f"{ENTITIES_FILE}; add it there, or write null."
            )


def _notes_of_templates(
    entities: Sequence[Located[EntityFacts]], templates: Sequence[Located[Template]]
) -> Iterator[str]:
    for template in templates:
        text = template.row.text
        if text.partition(SLOT)[2][:1].isalnum():
            yield f"At {template.where}: a letter or digit right after {SLOT}; such a template is left out."
        if text != text.rstrip():
            yield f"At {template.where}: a blank at the end, which most models answer badly to; remove it."
        named = next((e.row.entity for e in entities if mentions(text, e.row.entity)), None)
        if named is not None:
            yield f"At {template.where}: it names {named!r}, an entity of these data; name another."


def _notes_of_the_whole(tables: Tables) -> Iterator[str]:
    for partition in PARTITIONS:
        if all(facts.partition != partition for facts in tables.entities):
            yield f"{ENTITIES_FILE} has no entity in {partition}; its splits stay empty."
    for attribute in tables.entity_type.attributes:
        values = {value for value in tables.columns()[attribute.name].values() if value.strip()}
        asked = {template.partition for template in tables.templates_for(attribute.name)}
        absent = [partition for partition in PARTITIONS if partition not in asked]
        if len(values) < 2:
            yield f"{attribute.name} has {len(values)} different values; nothing could be swapped."
        if absent:
            yield f"{TEMPLATES_FILE} has no template for {attribute.name} in {', '.join(absent)}."
    if not tables.templates_for(None):
        yield f"{TEMPLATES_FILE} has no text with the attribute null; that kind of source stays empty."
    written = {template.text for template in skeletons(tables.entity_type)}
    if still := sum(template.text in written for template in tables.templates):
        yield (
            f"{still} of {len(tables.templates)} templates are those that `ravel data new` wrote; rewrite "
            "them until a reader would go on with the value."
        )
    if tables.entity_type.licence.startswith(NO_LICENCE):
        yield "The declaration says nothing yet of where the facts come from and under which licence."
