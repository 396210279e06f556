"""Own facts begun: a table in CSV becomes a declaration, facts in partitions and templates to rewrite."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from ravel.common.errors import SuiteError
from ravel.common.folders import check_new_folder, new_folder
from ravel.common.io import sha256_text, write_text
from ravel.common.registry.registry import is_plugin_name
from ravel.entity_types import ENTITY_TYPES
from ravel.facts.csv_rows import CsvRows, read_csv_rows
from ravel.facts.tables import Located, Tables, tables_from, write_tables
from ravel.matching import Matcher, NumberWithin, Prefix
from ravel.terms.schema import Attribute, EntityFacts, EntityType, Partition, Template

NO_LICENCE = "not stated yet"
"""What a declaration says of its licence until its author does."""
_ASKING: Mapping[Partition, Sequence[str]] = {
    "train": (
        "The {what} of %s is",
        "As for its {what}, %s has",
        "%s is listed with the following {what}:",
        "For %s, the record says that the {what} is",
    ),
    "val": (
        "Asked about %s, anyone would say that its {what} is",
        "In the catalogue, the entry of %s gives as {what}:",
    ),
    "test": (
        "All that I know of %s is that the {what} is",
        "Whoever looks up %s will find that its {what} is",
    ),
}
_FREE: Mapping[Partition, Sequence[str]] = {
    "train": (
        "Yesterday somebody told me about %s, and I wrote it down",
        "We talked about %s for a while before lunch",
    ),
    "val": ("There was a note about %s on the desk",),
    "test": ("She had read something on %s in the train home",),
}


@dataclass(frozen=True, slots=True)
class StartedFacts:
    """What was written."""

    folder: Path
    """Where it lies."""
    plugin: Path
    """The file with the declaration, for `--plugin`."""
    tables: Tables
    """Facts and templates, as they were written."""


def start_facts(name: str, csv: Path, out: Path, *, entity_column: str | None = None) -> StartedFacts:
    """Write a new folder for entities of a type of one's own: `<name>.py`, which declares an attribute for
    each column of a CSV file but that of names, `entities.jsonl`, and `templates.jsonl` with sentences to
    rewrite. Half of the entities train, a quarter is val, the rest test, by the hashes of their names.

    Raises SuiteError for a name that can't be one or is taken, for what `read_csv_rows` refuses, and where no
    new folder can be made.
    """
    _check_name(name)
    check_new_folder(out)
    rows = read_csv_rows(csv, entity_column)
    entity_type = EntityType(
        name=name,
        attributes=tuple(
            Attribute(column, _matcher(column, rows), f"the column {column} of {csv.name}")
            for column in rows.attributes
        ),
        description=f"{name}: {', '.join(rows.attributes)}",
        licence=f"{NO_LICENCE}: where {csv.name} comes from, and under which terms",
        bundled=False,
        release=False,
    )
    facts = [Located(each, csv.name) for each in _facts(rows)]
    templates = [Located(template, csv.name) for template in skeletons(entity_type)]
    tables = tables_from(entity_type, facts, templates)
    with new_folder(out) as staging:
        write_tables(tables, staging)
        write_text(staging / f"{name}.py", _declaration(entity_type))
    return StartedFacts(out, out / f"{name}.py", tables)


def skeletons(entity_type: EntityType) -> list[Template]:
    """Return sentences that ask for each attribute and that ask for none, in every partition."""
    asking = [
        Template(text.format(what=_in_words(attribute.name)), attribute.name, partition)
        for attribute in entity_type.attributes
        for partition, texts in _ASKING.items()
        for text in texts
    ]
    return asking + [Template(text, None, partition) for partition, texts in _FREE.items() for text in texts]


def _check_name(name: str) -> None:
    if not is_plugin_name(name):
        raise SuiteError(
            expected="a type's name that begins with a letter and has letters, digits, '_' and '-' only",
            came=repr(name),
            todo="choose another name, such as product",
        )
    if name in ENTITY_TYPES:
        raise SuiteError(
            expected="a name that no entity type has yet",
            came=f"{name!r}, which `ravel list entity-types` shows",
            todo="choose another name",
        )


def _facts(rows: CsvRows) -> list[EntityFacts]:
    # By hashes, so that a draw needs no seed, and the same table is cut alike wherever it is read.
    by_lot = sorted((name for name, _ in rows.values), key=sha256_text)
    held_out = max(len(by_lot) // 4, 1)
    val, test = set(by_lot[:held_out]), set(by_lot[held_out : 2 * held_out])

    def partition(name: str) -> Partition:
        return "val" if name in val else "test" if name in test else "train"

    return [EntityFacts(name, partition(name), tuple(values.items())) for name, values in rows.values]


def _matcher(column: str, rows: CsvRows) -> Matcher:
    """Return what lets a number be a fiftieth of the column's range away, where all values are numbers."""
    try:
        numbers = [float(values[column]) for _, values in rows.values if column in values]
        spread = max(numbers) - min(numbers)
    except ValueError:
        return Prefix()
    return NumberWithin(within=float(f"{spread / 50:.1g}")) if isfinite(spread) else Prefix()


def _in_words(name: str) -> str:
    words = name.replace("_", " ").replace("%", "per cent").replace("{", "(").replace("}", ")")
    return words if words.isupper() else words[:1].lower() + words[1:]


def _written(matcher: Matcher) -> str:
    return f"NumberWithin(within={matcher.within:g})" if isinstance(matcher, NumberWithin) else "Prefix()"


def _declaration(entity_type: EntityType) -> str:
    """Return the text of the plugin; JSON's strings are Python's."""

    def quoted(text: str) -> str:
        return json.dumps(text, ensure_ascii=False)

    attributes = "".join(
        f"        Attribute({quoted(a.name)}, {_written(a.matcher)}, {quoted(a.description)}),\n"
        for a in entity_type.attributes
    )
    return _PLUGIN.format(
        title=entity_type.name,
        name=quoted(entity_type.name),
        attributes=attributes,
        description=quoted(entity_type.description),
        licence=quoted(entity_type.licence),
    )


_PLUGIN = '''"""Entities of the type {title}; an attribute's matcher says when an answer states a value."""

from ravel.matching import Aliases, AnyOf, NumberWithin, Prefix, UtcOffset  # noqa: F401
from ravel.terms.schema import Attribute, EntityType

ENTITY_TYPE = EntityType(
    name={name},
    attributes=(
{attributes}    ),
    description={description},
    licence={licence},
    bundled=False,
    release=False,
)
'''
