"""What a build may ask: attributes, templates and entities, each once, before anything is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ravel.asking.knowledge import Stop
from ravel.asking.prompts import glues_letters
from ravel.building.config import BuildConfig
from ravel.common.errors import one_of
from ravel.common.seeds import evenly_spread
from ravel.facts.tables import Tables
from ravel.terms.mentions import same_text
from ravel.terms.schema import (
    PARTITIONS,
    EntityFacts,
    Template,
)

# A label takes about half as long again as a verdict, and an answer that is asked again all of it.
_FEW_KEPT = 0.3


T = TypeVar("T", EntityFacts, Template)


@dataclass(frozen=True, slots=True)
class Candidates:
    """What is asked, before anything is known."""

    asking: tuple[Template, ...]
    """Templates that ask for an attribute."""
    free: tuple[Template, ...]
    """Texts that ask for none."""
    entities: tuple[EntityFacts, ...]
    """Those that are put into both."""
    glued: tuple[str, ...]
    """Templates left out because letters follow the slot."""
    twice: tuple[str, ...]
    """Entities and templates left out because an earlier partition has them, up to case and blanks; and
    attribute-free texts that are questions too."""


def chosen_attributes(tables: Tables, config: BuildConfig) -> tuple[str, ...]:
    """Return the attributes to ask for, in the type's order. Raises SuiteError for an unusable one."""
    usable = tables.attributes()
    for name in config.attributes or ():
        one_of(f"attribute of {tables.entity_type.name} with templates and values", name, usable)
    return tuple(name for name in usable if config.attributes is None or name in config.attributes)


def candidates_of(tables: Tables, attributes: Sequence[str], config: BuildConfig) -> Candidates:
    """Return what may be asked: usable templates, and at most `max_entities` entities of each partition."""
    entities = [
        facts
        for partition in PARTITIONS
        for facts in _some([f for f in tables.entities if f.partition == partition], config.max_entities)
    ]
    chosen = [t for t in tables.templates if t.attribute is None or t.attribute in attributes]
    usable = [template for template in chosen if not glues_letters(template)]
    asking = _held_once([t for t in usable if t.attribute is not None], lambda t: t.text)
    asked = {same_text(template.text) for template in asking}
    free = [t for t in usable if t.attribute is None and same_text(t.text) not in asked]
    held = _held_once(entities, lambda facts: facts.entity)
    found = Candidates(
        asking=tuple(asking),
        free=tuple(_held_once(free, lambda t: t.text)),
        entities=tuple(held),
        glued=tuple(template.text for template in chosen if glues_letters(template)),
        twice=(),
    )
    kept = {*found.asking, *found.free}
    twice = [*(f.entity for f in entities if f not in held), *(t.text for t in usable if t not in kept)]
    return replace(found, twice=tuple(twice))


def _held_once(rows: Sequence[T], text_of: Callable[[T], str]) -> list[T]:
    """Return the rows without those that an earlier partition has, up to case and blanks."""
    first: dict[str, int] = {}
    for row in rows:
        name, place = same_text(text_of(row)), PARTITIONS.index(row.partition)
        first[name] = min(place, first.get(name, place))
    return [row for row in rows if PARTITIONS.index(row.partition) == first[same_text(text_of(row))]]


def stop_of(candidates: Candidates, config: BuildConfig) -> Stop:
    """Return when answers may stop: once judged, if so few are kept that completing these again costs less
    than the labels of all."""
    if config.selection == "staged":
        return "judged"
    if config.selection == "threshold":
        return "labelled"
    attributes = len({template.attribute for template in candidates.asking})
    entities = config.keep_entities / max(1, len(candidates.entities))
    templates = config.keep_templates * attributes / max(1, len(candidates.asking))
    return "judged" if min(1, entities) * min(1, templates) < _FEW_KEPT else "labelled"


def _some(entities: Sequence[EntityFacts], most: int | None) -> Sequence[EntityFacts]:
    return entities if most is None else evenly_spread(entities, most)
