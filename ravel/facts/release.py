"""The official RAVEL release: five JSON files per type, read from folder, archive or hub, and written.

It knows the release's file names and fields and nothing of what the values mean. Source of the format: the
files of explanare/ravel (data.tgz). Nothing is mended on the way: each value keeps every byte, blank and
misdecoded ones too.
"""

from __future__ import annotations

import json
import logging
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, TypeAlias

from ravel.common.errors import SuiteError
from ravel.common.io import make_folder, write_text
from ravel.common.strict_json import JsonError, parse_json
from ravel.entity_types import ENTITY_TYPES
from ravel.facts.tables import Located, Tables, checked_facts, checked_template, tables_from
from ravel.terms.schema import PARTITIONS, EntityFacts, EntityType, Template

__all__ = ["HUB_ID", "HubLoader", "load_from_hub", "read_release", "release_files", "write_release"]

HUB_ID = "hij/ravel"
"""The release on the Hugging Face hub; it holds cities only."""
MEMBER_LIMIT = 64 << 20
"""Largest file an archive may hold, in bytes; the largest of the release has 0.65 MB."""
MEMBER_COUNT_LIMIT = 10_000

HubLoader: TypeAlias = Callable[[str, str], Mapping[str, Iterable[Mapping[str, Any]]]]
"""Takes a repository id and a config name; returns the rows of each split."""

_log = logging.getLogger(__name__)
_HUB_SPLITS = {"train": "train", "val": "val", "validation": "val", "test": "test"}


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
        return (
            self.values,
            self.templates,
            self.entity_partitions,
            self.template_partitions,
            self.attribute_free,
        )


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
        return _read_hub(entity_type, load_hub or load_from_hub)
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
        return _tables_from_files(_folder_files(path, names.all()), names, entity_type)
    if path.is_file():
        _refuse_other_files(path)
        return _tables_from_files(_archive_files(path, names.all()), names, entity_type)
    raise SuiteError(
        expected=f"a release folder, a .tgz or {HUB_ID!r}",
        came=f"{str(source)!r}, where nothing is",
        todo="check the path; data.tgz of github.com/explanare/ravel is the original",
    )


def write_release(tables: Tables, folder: Path) -> None:
    """Write the five JSON files of a type; read back they give equal tables, and the JSON of the original.

    Entities, an entity's values, and templates keep their order.
    """
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


def load_from_hub(repository: str, config: str) -> Mapping[str, Iterable[Mapping[str, Any]]]:
    """Load a config of a hub repository with `datasets`. Raises SuiteError if it can't be had."""
    # Imported here: it is slow to load and only this function needs it.
    from datasets import load_dataset

    try:
        splits: Mapping[str, Iterable[Mapping[str, Any]]] = load_dataset(repository, config)
    except Exception as error:  # the hub client raises errors of half a dozen libraries
        raise SuiteError(
            expected=f"config {config} of the hub repository {repository}",
            came=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
            todo="check the connection, or download data.tgz of github.com/explanare/ravel and give its path",
        ) from None
    return splits


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    where: str

    def mapping(self) -> dict[str, Any]:
        try:
            value = parse_json(self.content.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise self._error("UTF-8 text", f"a wrong byte at offset {error.start}") from None
        except JsonError as error:
            at = "" if error.line is None else f" at line {error.line}, column {error.column}"
            raise self._error("JSON", f"{error}{at}") from None
        if not isinstance(value, dict):
            raise self._error("a JSON object", f"a {type(value).__name__}")
        return value

    def _error(self, expected: str, came: str) -> SuiteError:
        return SuiteError(
            expected=f"{expected} in {self.where}",
            came=came,
            todo="correct the file or download the release again",
        )


def _folder_files(folder: Path, names: Iterable[str]) -> dict[str, _File]:
    found: dict[str, _File] = {}
    for name in names:
        places = [folder / name, *sorted(folder.glob(f"*/{name}"))]
        place = next((place for place in places if place.is_file()), None)
        if place is None:
            raise _missing(name, str(folder))
        try:
            found[name] = _File(place.read_bytes(), str(place))
        except OSError as error:
            raise SuiteError(
                expected=f"a readable file at {place}",
                came=error.strerror or str(error),
                todo="change the file's permissions",
            ) from None
    return found


_ARCHIVE_NAMES = (".tgz", ".tar", ".gz", ".bz2", ".xz")
_ARCHIVE_STARTS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")
_TAR_MAGIC = slice(257, 262)


def _refuse_other_files(path: Path) -> None:
    """Raise SuiteError for a file that neither is an archive nor is named like one: somebody's own facts."""
    try:
        with path.open("rb") as stream:
            start = stream.read(_TAR_MAGIC.stop)
    except OSError:
        return
    named = path.name.lower().endswith(_ARCHIVE_NAMES)
    if named or start.startswith(_ARCHIVE_STARTS) or start[_TAR_MAGIC] == b"ustar":
        return
    raise SuiteError(
        expected="a folder with entities.jsonl and templates.jsonl, or an archive of the release",
        came=f"{path}, a single file that is no archive",
        todo=(
            "make a folder of the two files, also from a CSV: each row of a CSV becomes a line of "
            "entities.jsonl with its name, its partition (train, val or test) and a value per attribute, "
            '{"entity": "Nile", "partition": "train", "values": {"Length": "6650"}}, and templates.jsonl has '
            'lines such as {"attribute": "Length", "entity": null, "partition": "train", "template": '
            '"The %s has a length in km of"}; the attributes are declared in an entity type '
            "(docs/how-to/add-an-entity-type.md)"
        ),
    )


def _archive_files(path: Path, names: Iterable[str]) -> dict[str, _File]:
    wanted = set(names)
    found: dict[str, _File] = {}
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in _safe_members(archive, path):
                name = PurePosixPath(member.name).name
                if name not in wanted:
                    continue
                if name in found:
                    raise _unsafe(path, f"{name} twice")
                stream = archive.extractfile(member)
                assert stream is not None  # only regular files come here
                found[name] = _File(stream.read(), f"{member.name} in {path}")
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise SuiteError(
            expected=f"a whole tar archive at {path}",
            came=f"{error or type(error).__name__}",
            todo="download data.tgz again",
        ) from None
    for name in sorted(wanted - set(found)):
        raise _missing(name, str(path))
    return found


def _safe_members(archive: tarfile.TarFile, path: Path) -> Iterator[tarfile.TarInfo]:
    """Yield the regular files, each checked before anything behind its header is read."""
    for number, member in enumerate(archive):
        windows = PureWindowsPath(member.name)
        if number >= MEMBER_COUNT_LIMIT:
            raise _unsafe(path, f"more than {MEMBER_COUNT_LIMIT} members")
        if PurePosixPath(member.name).is_absolute() or windows.drive or windows.root or ".." in windows.parts:
            raise _unsafe(path, f"a member outside it, {member.name!r}")
        if member.isdir():
            continue
        if not member.isreg():
            raise _unsafe(path, f"{member.name!r}, which is a link or a device")
        if member.size > MEMBER_LIMIT:
            raise _unsafe(path, f"{member.name!r} with {member.size} bytes")
        yield member


def _tables_from_files(files: dict[str, _File], names: ReleaseFiles, entity_type: EntityType) -> Tables:
    values, entity_partitions = files[names.values], files[names.entity_partitions]
    entities = _entities(
        values.mapping(), entity_partitions.mapping(), values, entity_partitions, entity_type
    )
    templates = _templates(files[names.templates], files[names.template_partitions], entity_type)
    free = _attribute_free(files[names.attribute_free], entity_type)
    return tables_from(entity_type, entities, [*templates, *free])


def _entities(
    values: dict[str, Any],
    partitions: dict[str, Any],
    values_file: _File,
    partitions_file: _File,
    entity_type: EntityType,
) -> list[Located[EntityFacts]]:
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
    templates_file: _File, partitions_file: _File, entity_type: EntityType
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


def _attribute_free(file: _File, entity_type: EntityType) -> list[Located[Template]]:
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
    kind: str, first: Iterable[str], second: Iterable[str], first_file: _File, second_file: _File
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


def _read_hub(entity_type: EntityType, load: HubLoader) -> Tables:
    """Read the cities of the hub.

    The hub lists every place, the release only one per name: here rows of one name that agree count as one,
    and a name whose rows disagree is left out, with the texts bound to it, because a prompt can't say which
    is meant.
    """
    if entity_type.name != "city":
        raise SuiteError(
            expected=f"the type city, the only one in {HUB_ID}",
            came=f"{entity_type.name!r}",
            todo="download data.tgz of github.com/explanare/ravel, which has all five, and give its path",
        )
    entities = _hub_entities(_hub_rows(load(HUB_ID, "city_entity"), "city_entity"), entity_type)
    kept = {located.row.entity for located in entities}
    templates = [
        located
        for located in _hub_templates(_hub_rows(load(HUB_ID, "city_prompt"), "city_prompt"), entity_type)
        if located.row.entity is None or located.row.entity in kept
    ]
    return tables_from(entity_type, entities, templates)


def _hub_rows(
    splits: Mapping[str, Iterable[Mapping[str, Any]]], config: str
) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Yield (partition, row, where)."""
    unknown = sorted(set(splits) - set(_HUB_SPLITS))
    if unknown or not splits:
        raise SuiteError(
            expected=f"the splits {', '.join(PARTITIONS)} in {HUB_ID} {config}",
            came=", ".join(splits) or "none",
            todo="give the release's folder or .tgz instead",
        )
    for split, rows in splits.items():
        for number, row in enumerate(rows):
            yield _HUB_SPLITS[split], row, f"row {number} of {HUB_ID} {config}/{split}"


def _hub_entities(
    rows: Iterable[tuple[str, Mapping[str, Any], str]], entity_type: EntityType
) -> list[Located[EntityFacts]]:
    by_name: dict[str, list[Located[EntityFacts]]] = {}
    names = [attribute.name for attribute in entity_type.attributes]
    for partition, row, where in rows:
        _check_columns(row, ["City", *names], where)
        values = {name: _as_text(row[name]) for name in sorted(names) if row[name] is not None}
        located = checked_facts(row["City"], partition, values, entity_type=entity_type, where=where)
        by_name.setdefault(located.row.entity, []).append(located)
    kept = [group[0] for group in by_name.values() if all(one.row == group[0].row for one in group)]
    if len(kept) < len(by_name):
        _log.warning("%d city names whose rows disagree were left out", len(by_name) - len(kept))
    return kept


def _hub_templates(
    rows: Iterable[tuple[str, Mapping[str, Any], str]], entity_type: EntityType
) -> Iterator[Located[Template]]:
    for partition, row, where in rows:
        _check_columns(row, ["Template", "Attribute", "Source", "Entity"], where)
        attribute = row["Attribute"] if str(row["Source"]).casefold() == "ravel" else None
        yield checked_template(
            row["Template"], attribute, row["Entity"] or None, partition, entity_type=entity_type, where=where
        )


def _check_columns(row: Mapping[str, Any], names: list[str], where: str) -> None:
    missing = [name for name in names if name not in row]
    if missing:
        raise SuiteError(
            expected=f"the columns {', '.join(names)} at {where}",
            came=f"no {', '.join(missing)}",
            todo="the hub's format has changed: give the release's folder or .tgz instead",
        )


def _as_text(value: Any) -> Any:
    """Write a number the way the release does, whole ones without decimals; leave anything else alone."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, (int, float)) else value


def _missing(name: str, place: str) -> SuiteError:
    return SuiteError(
        expected=f"{name} in {place}",
        came="no such file there",
        todo="give the folder or archive that holds all five files of the type",
    )


def _unsafe(path: Path, came: str) -> SuiteError:
    return SuiteError(
        expected=f"an archive of plain files at {path}",
        came=came,
        todo="use data.tgz of github.com/explanare/ravel",
    )
