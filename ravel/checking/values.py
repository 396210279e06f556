"""The values that entities have: by the facts as they are written, or by what the model says."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from ravel.common.errors import SuiteError
from ravel.entity_types import ENTITY_TYPES
from ravel.facts.tables import Tables, read_bundled
from ravel.instance import Instance
from ravel.terms.schema import Partition

Values = Mapping[str, Mapping[str, str]]
"""{attribute: {entity: value}}, without blanks."""


def normalised(label: str) -> str:
    """Return a label as its class is called: case, outer blanks, quotes and closing stops make no class."""
    return " ".join(label.split()).strip(" \"'.,;:").casefold()


def values_of_tables(tables: Tables) -> dict[str, dict[str, str]]:
    """Return the facts by attribute and entity, attributes in the type's order; blank values are left out."""
    stated = {
        name: {entity: value for entity, value in column.items() if value.strip()}
        for name, column in tables.columns().items()
    }
    return {name: column for name, column in stated.items() if column}


def values_of_instance(instance: Instance) -> dict[str, dict[str, str]]:
    """Return what the model says of each entity: its commonest label over the attribute's templates.

    Labels are `normalised`; among equals the first in the alphabet. Where templates ask for several formats
    of one value, as for time zones, two entities of equal value may differ here; `SameValue` compares within
    templates instead.
    """
    values: dict[str, dict[str, str]] = {name: {} for name in instance.attributes}
    for (attribute, entity), by_template in _labels(instance).items():
        counts = Counter(by_template.values())
        values.setdefault(attribute, {})[entity] = min(counts, key=lambda label: (-counts[label], label))
    return {name: dict(sorted(column.items())) for name, column in values.items() if column}


def partitions_of_tables(tables: Tables) -> dict[str, Partition]:
    """Return each entity's partition."""
    return {facts.entity: facts.partition for facts in tables.entities}


def partitions_of_instance(instance: Instance) -> dict[str, Partition]:
    """Return each entity's partition as the manifest has it or, for an imported instance without, as the base
    entities of the splits `train`, `entity_val` and `entity_test` show it."""
    partition_of: dict[str, Partition] = {}
    held: tuple[tuple[Partition, str], ...] = (
        ("test", "entity_test"),
        ("val", "entity_val"),
        ("train", "train"),
    )
    for partition, split in held:
        listed = instance.manifest.entities.get(partition, ())
        shown = (pair.base_entity for pair in instance.pairs(split)) if split in instance.splits() else ()
        partition_of.update(dict.fromkeys(listed or shown, partition))
    return partition_of


def bundled_facts(instance: Instance) -> Tables | None:
    """Return the facts shipped for the instance's type if they hold all its entities, else None. An instance
    does not hold the facts it was built from. Its labels remain what pairs are judged by."""
    if instance.entity_type not in ENTITY_TYPES or not ENTITY_TYPES.get(instance.entity_type).bundled:
        return None
    try:
        tables = read_bundled(instance.entity_type)
    except SuiteError:
        return None
    known = {facts.entity for facts in tables.entities}
    asked = {record.prompt.entity for record in instance.prompts() if record.prompt.attribute is not None}
    return tables if asked <= known else None


class SameValue:
    """Tells whether two entities have the same value of an attribute, as the target model sees it.

    First by the labels of templates that were asked of both: most of them decide. Then, where none was or
    they are split evenly, by the facts. Then by each entity's commonest label. Labels come first because
    pairs are judged by them; within a template, because two templates may ask for two formats of one value.
    """

    def __init__(self, instance: Instance, facts: Values | None = None) -> None:
        self._labels = _labels(instance)
        self._facts: Values = {} if facts is None else facts
        self._commonest = values_of_instance(instance)

    def __call__(self, attribute: str, first: str, second: str) -> bool | None:
        """Return whether the values are equal, or None if one of them is unknown."""
        if first == second:
            return True
        decided = self._within_templates(attribute, first, second)
        for values in (self._facts, self._commonest):
            column = values.get(attribute, {})
            if decided is None and first in column and second in column:
                decided = column[first] == column[second]
        return decided

    def _within_templates(self, attribute: str, first: str, second: str) -> bool | None:
        ours = self._labels.get((attribute, first), {})
        theirs = self._labels.get((attribute, second), {})
        equal = [label == theirs[template] for template, label in ours.items() if template in theirs]
        return None if 2 * sum(equal) == len(equal) else 2 * sum(equal) > len(equal)


def _labels(instance: Instance) -> dict[tuple[str, str], dict[str, str]]:
    """Return {(attribute, entity): {template: class of the label}}."""
    labels: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for record in instance.prompts():
        attribute, label = record.prompt.attribute, normalised(record.label)
        if attribute is not None and label:
            labels[attribute, record.prompt.entity][record.prompt.template] = label
    return dict(labels)
