"""The official RAVEL release: five JSON files per type, read from folder, archive or hub, and written.

It knows the release's file names and fields and nothing of what the values mean. Source of the format: the
files of explanare/ravel (data.tgz). Nothing is mended on the way: each value keeps every byte, blank and
misdecoded ones too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from ravel.common.errors import SuiteError
from ravel.common.io import make_folder, write_text
from ravel.entity_types import ENTITY_TYPES
from ravel.facts.release_hub import HUB_ID, HubLoader, load_from_hub, read_hub
from ravel.facts.release_source import SourceFile, archive_files, folder_files
from ravel.facts.tables import Located, Tables, checked_facts, checked_template, tables_from
from ravel.terms.schema import EntityFacts, EntityType, Template


@dataclass(frozen=True, slots=True)
class ReleaseFiles:
    """The names of the five files of one entity type."""

    values: str
    """{entity: {attribute: value}}"""
    templates: str
    """{attribute: [template, ...]}"""
    entity_partitions: str
    """{entity: partition}"""
    template_partitions: str
    """{template: partition}"""
    attribute_free: str
    """{template: {"split": partition, "entity": entity or null}}"""

    def all(self) -> tuple[str, ...]:
        """Return the five names."""
        return astuple(self)


def release_files(entity_type_name: str) -> ReleaseFiles:
    """Return the file names of a type in the release."""
    return ReleaseFiles(
        values=f"ravel_{entity_type_name}_entity_attributes.json",
        templates=f"ravel_{entity_type_name}_attribute_to_prompts.json",
        entity_partitions=f"ravel_{entity_type_name}_entity_to_split.json",
        template_partitions=f"ravel_{entity_type_name}_prompt_to_split.json",
        attribute_free=f"wikipedia_{entity_type_name}_entity_prompts.json",
    )


def read_release(source: str | Path, entity_type_name: str, *, load_hub: HubLoader | None = None) -> Tables:
    """Read one type of the release from a folder, a tar archive (`.tgz`) or the hub id `hij/ravel`.

    Files may lie in the folder itself or one folder down. An archive is read in memory and never unpacked to
    disk; it is refused if any member is a link or a device, has an absolute path or one with `..`, or is
    oversized.
    `load_hub` stands in for the hub in tests. Raises SuiteError for what does not follow the format.
    """
    entity_type = ENTITY_TYPES.get(entity_type_name)
    if str(source) == HUB_ID and not Path(source).exists():
        return read_hub(entity_type, load_hub or load_from_hub)
    if not entity_type.release:
        known = [t.name for t in ENTITY_TYPES if t.release]
        raise SuiteError(
            expected=f"an entity type of the release ({', '.join(known)})",
            came=f"{entity_type.name!r}",
            todo=f"leave the path out: {entity_type.name} is bundled",
        )
    path = Path(source)
    names = release_files(entity_type.name)
    if path.is_dir():
        return _tables_from_files(folder_files(path, names.all()), names, entity_type)
    if path.is_file():
        return _tables_from_files(archive_files(path, names.all()), names, entity_type)
    raise SuiteError(
        expected=f"a release folder, a .tgz or {HUB_ID!r}",
        came=f"{str(source)!r}, where nothing is",
        todo="check the path; data.tgz of github.com/explanare/ravel is the original",
    )


def write_release(tables: Tables, folder: Path) -> None:
    """Write the five JSON files of a type; read back they give equal tables, and the JSON of the original.
    Entities, an entity's values, and templates keep their order."""
    make_folder(folder)
    names = release_files(tables.entity_type.name)
    asked = [template for template in tables.templates if template.attribute is not None]
    by_attribute: dict[str, list[str]] = {}
    for template in asked:
        by_attribute.setdefault(str(template.attribute), []).append(template.text)
    free = tables.templates_for(None)
    contents: dict[str, Any] = {
        names.values: {facts.entity: dict(facts.values) for facts in tables.entities},
        names.templates: by_attribute,
        names.entity_partitions: {facts.entity: facts.partition for facts in tables.entities},
        names.template_partitions: {template.text: template.partition for template in asked},
        names.attribute_free: {t.text: {"split": t.partition, "entity": t.entity} for t in free},
    }
    for name, content in contents.items():
        write_text(folder / name, json.dumps(content, ensure_ascii=False, indent=2))


def _tables_from_files(files: dict[str, SourceFile], names: ReleaseFiles, entity_type: EntityType) -> Tables:
    entities = _entities(files[names.values], files[names.entity_partitions], entity_type)
    templates = _templates(files[names.templates], files[names.template_partitions], entity_type)
    free = _attribute_free(files[names.attribute_free], entity_type)
    return tables_from(entity_type, entities, [*templates, *free])


def _entities(
    values_file: SourceFile, partitions_file: SourceFile, entity_type: EntityType
) -> list[Located[EntityFacts]]:
    values, partitions = values_file.mapping(), partitions_file.mapping()
    _same_names("entity", values, partitions, values_file, partitions_file)
    return [
        checked_facts(
            entity,
            partitions[entity],
            of_entity,
            entity_type=entity_type,
            where=f"{entity!r} in {values_file.where}",
        )
        for entity, of_entity in values.items()
    ]


def _templates(
    templates_file: SourceFile, partitions_file: SourceFile, entity_type: EntityType
) -> list[Located[Template]]:
    by_attribute, partitions = templates_file.mapping(), partitions_file.mapping()
    rows: list[tuple[str, Any]] = []
    for attribute, texts in by_attribute.items():
        if not isinstance(texts, list) or not texts:
            raise SuiteError(
                expected=f"a list of templates for {attribute!r} in {templates_file.where}",
                came="an empty list" if texts == [] else f"a {type(texts).__name__}",
                todo="give the attribute templates or remove it",
            )
        rows.extend((attribute, text) for text in texts)
    _same_names("template", [str(text) for _, text in rows], partitions, templates_file, partitions_file)
    return [
        checked_template(
            text, attribute, None, partitions[str(text)], entity_type=entity_type, where=templates_file.where
        )
        for attribute, text in rows
    ]


def _attribute_free(file: SourceFile, entity_type: EntityType) -> list[Located[Template]]:
    rows: list[Located[Template]] = []
    for text, about in file.mapping().items():
        if not isinstance(about, dict) or set(about) != {"split", "entity"}:
            raise SuiteError(
                expected=f"'split' and 'entity' for each text in {file.where}",
                came=f"{about!r} for {text!r}",
                todo="correct that entry",
            )
        rows.append(
            checked_template(
                text, None, about["entity"], about["split"], entity_type=entity_type, where=file.where
            )
        )
    return rows


def _same_names(
    kind: str, first: Iterable[str], second: Iterable[str], first_file: SourceFile, second_file: SourceFile
) -> None:
    """Refuse names that stand in one of two files only."""
    in_first, in_second = set(first), set(second)
    for missing, file in ((in_first - in_second, second_file), (in_second - in_first, first_file)):
        if missing:
            raise SuiteError(
                expected=f"every {kind} in {first_file.where} and in {second_file.where}",
                came=f"{len(missing)} missing in {file.where}, such as {min(missing)!r}",
                todo="add them or remove them from the other file",
            )
