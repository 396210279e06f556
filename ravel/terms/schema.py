"""The vocabulary of the suite as frozen values; nothing here reads files, runs models or decides anything.

One word, one meaning:
  partition        train / val / test: where an entity or a template was put, once and for all
  generalisation   what of a pair is held out: context (templates), entity (entities), entity_context (both)
  split            a generalisation with a partition, as in `context_test`; training pairs are `train`
  source_kind      what the source asks: the base's attribute, another one, or none (attribute-free text)
  label            the text a model answers with, cut where the answer ends
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ravel.common.errors import one_of
from ravel.matching import Matcher

Partition = Literal["train", "val", "test"]
Generalisation = Literal["context", "entity", "entity_context"]
SourceKind = Literal["same_attribute", "other_attribute", "attribute_free"]

PARTITIONS: tuple[Partition, ...] = get_args(Partition)
GENERALISATIONS: tuple[Generalisation, ...] = get_args(Generalisation)
SOURCE_KINDS: tuple[SourceKind, ...] = get_args(SourceKind)
SLOT = "%s"
"""Where a template takes the entity's name; it stands exactly once in every template."""
TRAIN_SPLIT = "train"


def split_name(generalisation: Generalisation, partition: Partition) -> str:
    """Return the name of a held-out split, such as `context_test`."""
    return f"{generalisation}_{partition}"


def evaluation_splits() -> list[str]:
    """Return the names of the six held-out splits: each generalisation with val and test."""
    return [split_name(g, p) for g in GENERALISATIONS for p in PARTITIONS if p != "train"]


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of an entity type and the rule by which an answer counts as right."""

    name: str
    """The attribute's name in data files, such as `Country`."""
    matcher: Matcher
    """Decides whether a model's continuation states a value."""
    description: str
    """What the values are and how they are written."""


@dataclass(frozen=True, slots=True)
class EntityType:
    """The declaration of an entity type: one file in `ravel/entity_types/` plus its data."""

    name: str
    """As in file names: `city`."""
    attributes: tuple[Attribute, ...]
    """Every attribute the type declares, in the order of tables."""
    description: str
    """One line for `ravel list entity-types`."""
    licence: str
    """Licence of the facts, with the source."""
    bundled: bool
    """True if facts and templates are shipped in `data/<name>/`; otherwise they come from a release."""
    release: bool
    """True if the official RAVEL release has this type."""

    def attribute(self, name: str) -> Attribute:
        """Return the attribute called `name`. Raises SuiteError with near misses."""
        by_name = {attribute.name: attribute for attribute in self.attributes}
        one_of(f"attribute of {self.name}", name, by_name)
        return by_name[name]


@dataclass(frozen=True, slots=True)
class EntityFacts:
    """One entity with its partition and its values."""

    entity: str
    """The name as it is put into templates."""
    partition: Partition
    """Where the entity belongs, fixed in the data."""
    values: tuple[tuple[str, str], ...]
    """(attribute, value) in data order; the strings are kept to the byte."""


@dataclass(frozen=True, slots=True)
class Template:
    """A text with one slot, which asks for one attribute or for none."""

    text: str
    """Holds `%s` exactly once."""
    attribute: str | None
    """What the next words would state; None for attribute-free text."""
    partition: Partition
    """Where the template belongs, fixed in the data."""
    entity: str | None = None
    """The only entity this text may take, or None for any."""
    chat: bool = False
    """Whether the model is asked through its chat template. The facts have the bare text; a build puts the
    chat template's text around it, and from then on that is the template's text."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A template filled with an entity, and where the name stands in it."""

    text: str
    """What the model reads."""
    template: str
    """The template's text."""
    entity: str
    """The name in the slot."""
    attribute: str | None
    """As in the template."""
    span: tuple[int, int]
    """Character offsets [start, end) of the name that fills the slot, not of an earlier mention."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model answered to a prompt."""

    text: str
    """The greedy continuation, uncut."""
    token_ids: tuple[int, ...]
    """The continuation's token ids, as generated."""


@dataclass(frozen=True, slots=True)
class InterchangePair:
    """A base and a source prompt with both answers. For a target A it is a *cause* pair if the base template
    asks for A (expected: `if_swapped`), and an *isolate* pair otherwise (expected: `if_unchanged`)."""

    pair_id: str
    """Unique in its instance, stable for equal seeds."""
    base: str
    """Prompt id of the base."""
    source: str
    """Prompt id of the source."""
    swapped: str
    """Prompt id of the base template filled with the source entity."""
    attribute: str
    """What the base template asks for."""
    base_entity: str
    """The entity of the base; a cluster of the bootstrap."""
    source_entity: str
    """The entity of the source."""
    base_template: str
    """The template of the base; a cluster of the bootstrap and the unit of averaging."""
    source_kind: SourceKind
    """What the source prompt asks, relative to the base."""
    if_unchanged: str
    """The model's label for the base prompt."""
    if_swapped: str
    """The model's label for the base template with the source entity; always differs from `if_unchanged`."""
