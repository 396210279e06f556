"""The release as it lies on the Hugging Face hub, which holds cities only."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from ravel.common.errors import SuiteError
from ravel.facts.tables import Located, Tables, checked_facts, checked_template, tables_from
from ravel.terms.schema import PARTITIONS, EntityFacts, EntityType, Template

HUB_ID = "hij/ravel"
"""The release on the Hugging Face hub; it holds cities only."""

HubLoader: TypeAlias = Callable[[str, str], Mapping[str, Iterable[Mapping[str, Any]]]]
"""Takes a repository id and a config name; returns the rows of each split."""

_log = logging.getLogger(__name__)

_HUB_SPLITS = {"train": "train", "val": "val", "validation": "val", "test": "test"}


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


def read_hub(entity_type: EntityType, load: HubLoader) -> Tables:
    """Read the cities of the hub, which lists every place, the release one per name: rows of one name count
    as one, and a name whose rows disagree is left out, with the texts bound to it."""
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
