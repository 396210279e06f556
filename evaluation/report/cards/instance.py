"""The data card of an instance: what it holds, for which model, and where facts and labels come from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation.report.cards.markdown import data_meta, filled_card, yaml
from ravel.common.bundled import bundled_path
from ravel.common.errors import SuiteError
from ravel.common.io import read_jsonl, read_text
from ravel.entity_types import ENTITY_TYPES
from ravel.instance import Instance
from ravel.terms.schema import SOURCE_KINDS, TRAIN_SPLIT

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def instance_card(folder: Path) -> str:
    """Return the data card of an instance: what it holds, for which model, where facts and labels come from,
    what it can't show. Raises SuiteError if the instance is damaged."""
    instance = Instance.load(folder)
    title = f"RAVEL instance: {instance.entity_type} for {instance.model_name}"
    pairs = {split: instance.pairs(split) for split in instance.splits()}
    kinds = [pair.source_kind for of_split in pairs.values() for pair in of_split]
    entities = instance.manifest.entities.items()
    values = {
        "title": title,
        "instance": instance,
        "entities": ", ".join(f"{partition} {len(names)}" for partition, names in entities),
        "splits": {
            split: (len(own), *(sum(p.attribute == a for p in own) for a in instance.attributes))
            for split, own in pairs.items()
        },
        "kinds": {kind: kinds.count(kind) for kind in SOURCE_KINDS},
        **_provenance(instance),
        "knowledge": _knowledge(instance),
        "settings": yaml(dict(instance.manifest.config)),
        "last_split": list(pairs)[-1] if pairs else TRAIN_SPLIT,
    }
    return filled_card("instance", _meta(instance, title, len(kinds)), values)


def _meta(instance: Instance, title: str, total: int) -> dict[str, Any]:
    files = [{"split": s, "path": f"pairs/{s}.jsonl"} for s in instance.splits()]
    configs: list[dict[str, Any]] = [
        {"config_name": "pairs", "data_files": files, "default": True},
        {"config_name": "prompts", "data_files": "prompts.jsonl"},
    ]
    size = next((name for most, name in _SIZES if total < most), "1M<n<10M")
    return data_meta(title, instance.entity_type, configs, size)


def _provenance(instance: Instance) -> dict[str, Any]:
    """Return what is known of the facts: the manifest does not name their source, but names can be compared.

    `licence` is None for a type that is not ours, `all_bundled` where no facts of the type are bundled.
    """
    unknown = {"licence": None, "all_bundled": None, "sources": ""}
    if instance.entity_type not in ENTITY_TYPES:
        return unknown
    entity_type = ENTITY_TYPES.get(instance.entity_type)
    if not entity_type.bundled:
        return {**unknown, "licence": entity_type.licence}
    folder = bundled_path(instance.entity_type)
    known = {row["entity"] for _, row in read_jsonl(folder / "entities.jsonl")}
    named = {name for names in instance.manifest.entities.values() for name in names}
    found = re.search(
        r"^## Provenance[^\n]*\n+((?:\|[^\n]*\n)+)", read_text(folder / "README.md"), re.MULTILINE
    )
    return {
        "licence": entity_type.licence,
        "all_bundled": bool(named) and named <= known,
        "sources": found[1] if found else "",
    }


def _knowledge(instance: Instance) -> list[tuple[str, str, str]]:
    """Return per attribute the share answered rightly, first of all candidates, then of what was kept."""
    attributes: Mapping[str, Any] = instance.manifest.knowledge.get("attributes", {})
    try:
        return [
            (name, _share(parts.get("candidates")), _share(parts.get("kept")))
            for name, parts in attributes.items()
        ]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise SuiteError(
            expected="in the manifest what the model knows, per attribute as ravel build writes it",
            came=f"{attributes!r}",
            todo="restore manifest.json from where it was written, or build the instance again",
        ) from None


def _share(counted: Mapping[str, Any] | None) -> str:
    if not counted or counted.get("accuracy") is None:
        return "–"
    return f"{counted['accuracy']:.3f} of {counted['asked']}"
