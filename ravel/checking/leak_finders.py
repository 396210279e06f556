"""How each leak is found: one function per check, over the pairs of an instance; it judges none of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from ravel.instance import Instance
from ravel.terms.mentions import mentions, same_letters, same_text
from ravel.terms.partitions import SPLIT_PLANS
from ravel.terms.schema import TRAIN_SPLIT, InterchangePair, Prompt

__all__ = [
    "Finder",
    "InstanceView",
    "answer_in_question",
    "answer_in_source",
    "answer_in_text",
    "held_out_demonstration",
    "held_out_entity",
    "held_out_template",
    "named_in_question",
    "named_in_text",
    "near_spellings",
    "one_entity",
    "pair_in_two_splits",
    "repeated_pair",
    "repeated_pair_id",
    "text_asks",
    "wrong_partition",
]


@dataclass(frozen=True, slots=True)
class SeenPair:
    """A pair with its place and its two prompts."""

    split: str
    """Where it lies."""
    pair: InterchangePair
    """The pair."""
    base: Prompt
    """Its base."""
    source: Prompt
    """Its source."""

    @property
    def texts(self) -> tuple[str, str]:
        """What the model reads."""
        return (self.base.text, self.source.text)

    def entities(self) -> tuple[str, str]:
        """Both entities."""
        return (self.base.entity, self.source.entity)

    def templates(self) -> tuple[str, str]:
        """Both templates."""
        return (self.base.template, self.source.template)


@dataclass(frozen=True, slots=True)
class Hit:
    """Something that a check found."""

    where: str
    """The split."""
    example: str
    """It in words."""


Hits = Iterable[Hit]
Finder = Callable[["InstanceView"], tuple[int, Hits]]
"""Returns out of how many it looked, and what it found."""


class InstanceView:
    """An instance as checks read it; each spelling and each search is worked out once."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.plans = {plan.name: plan for plan in SPLIT_PLANS}
        self.rows = tuple(
            SeenPair(split, pair, instance.prompt(pair.base).prompt, instance.prompt(pair.source).prompt)
            for split in instance.splits()
            for pair in instance.pairs(split)
        )
        self._spelled: dict[str, str] = {}
        self._mentioned: dict[tuple[str, str], bool] = {}

    def plain(self, text: str) -> str:
        """Return `same_text` of it."""
        if text not in self._spelled:
            self._spelled[text] = same_text(text)
        return self._spelled[text]

    def mentioned(self, template: str, words: str) -> bool:
        """Return `mentions` of them."""
        key = (template, words)
        if key not in self._mentioned:
            self._mentioned[key] = mentions(template, words)
        return self._mentioned[key]

    @cached_property
    def with_texts(self) -> tuple[SeenPair, ...]:
        """The pairs whose source is an attribute-free text."""
        return tuple(row for row in self.rows if row.source.attribute is None)

    def with_held_out_entities(self) -> list[SeenPair]:
        """Return the pairs of the splits that hold out entities."""
        return [row for row in self.rows if self.plans[row.split].entities != "train"]

    def with_held_out_templates(self) -> list[SeenPair]:
        """Return the pairs of the splits that hold out templates."""
        return [row for row in self.rows if self.plans[row.split].templates != "train"]

    @cached_property
    def entities(self) -> tuple[str, ...]:
        """Each entity once, in order."""
        return tuple(dict.fromkeys(entity for row in self.rows for entity in row.entities()))


def _earlier(
    view: InstanceView, parts: Callable[[SeenPair], Iterable[str]]
) -> Mapping[str, Mapping[str, str]]:
    """Return, for val and for test, what comes before it, with the split where it first occurs."""
    before: dict[str, dict[str, str]] = {"val": {}, "test": {}}
    for row in view.rows:
        for partition, found in before.items():
            if row.split == TRAIN_SPLIT or (partition == "test" and row.split.endswith("_val")):
                for part in parts(row):
                    found.setdefault(view.plain(part), row.split)
    return before


def held_out_entity(view: InstanceView) -> tuple[int, Hits]:
    """Find held-out pairs with an entity that occurs in an earlier partition."""
    before = _earlier(view, SeenPair.entities)
    rows = view.with_held_out_entities()
    return len(rows), _occurring(view, rows, before, SeenPair.entities)


def held_out_template(view: InstanceView) -> tuple[int, Hits]:
    """Find held-out pairs with a template that occurs in an earlier partition."""
    before = _earlier(view, SeenPair.templates)
    rows = view.with_held_out_templates()
    return len(rows), _occurring(view, rows, before, SeenPair.templates)


def _occurring(
    view: InstanceView,
    rows: Iterable[SeenPair],
    before: Mapping[str, Mapping[str, str]],
    parts: Callable[[SeenPair], Iterable[str]],
) -> Iterator[Hit]:
    for row in rows:
        known = before[row.split.rpartition("_")[2]]
        for part in parts(row):
            if (earlier := known.get(view.plain(part))) is not None:
                yield Hit(row.split, f"{part!r} of {row.pair.pair_id}, in {earlier} as well")
                break


def wrong_partition(view: InstanceView) -> tuple[int, Hits]:
    """Find pairs whose entity or template the manifest puts elsewhere."""
    manifest = view.instance.manifest
    entities = {name: part for part, names in manifest.entities.items() for name in names}
    templates = {(t["template"], t["attribute"]): t["partition"] for t in manifest.templates}
    return (len(view.rows) if entities or templates else 0), _misplaced(view, entities, templates)


def _misplaced(
    view: InstanceView, entities: Mapping[str, str], templates: Mapping[tuple[str, str | None], str]
) -> Iterator[Hit]:
    for row in view.rows:
        plan = view.plans[row.split]
        stated = [(name, entities.get(name, plan.entities), plan.entities) for name in row.entities()]
        for prompt in (row.base, row.source):
            partition = templates.get((prompt.template, prompt.attribute), plan.templates)
            stated.append((prompt.template, partition, plan.templates))
        for name, said, wanted in stated:
            if said != wanted:
                yield Hit(row.split, f"{name!r} of {row.pair.pair_id}, which belongs to {said}")
                break


def named_in_question(view: InstanceView) -> tuple[int, Hits]:
    """Find questions that name an entity of their pair outside the slot."""
    return len(view.rows), _named(view, view.rows, _questions_of)


def named_in_text(view: InstanceView) -> tuple[int, Hits]:
    """Find attribute-free texts that name an entity of their pair a second time."""
    return len(view.with_texts), _named(view, view.with_texts, lambda row: [row.source])


def _questions_of(row: SeenPair) -> list[Prompt]:
    return [prompt for prompt in (row.base, row.source) if prompt.attribute is not None]


def _named(
    view: InstanceView, rows: Iterable[SeenPair], prompts_of: Callable[[SeenPair], Iterable[Prompt]]
) -> Iterator[Hit]:
    for row in rows:
        names = [
            (entity, prompt.template)
            for prompt in prompts_of(row)
            for entity in row.entities()
            if view.mentioned(prompt.template, entity)
        ]
        if names:
            yield Hit(row.split, f"{names[0][0]!r} of {row.pair.pair_id} in {names[0][1]!r}")


def one_entity(view: InstanceView) -> tuple[int, Hits]:
    """Find pairs whose base and source have the same entity."""
    return len(view.rows), (
        Hit(row.split, f"{row.base.entity!r} and {row.source.entity!r} in {row.pair.pair_id}")
        for row in view.rows
        if view.plain(row.base.entity) == view.plain(row.source.entity)
    )


def repeated_pair(view: InstanceView) -> tuple[int, Hits]:
    """Find pairs that stand twice in a split."""
    return len(view.rows), _repeats(view, lambda row: (row.split, *row.texts), across=False)


def pair_in_two_splits(view: InstanceView) -> tuple[int, Hits]:
    """Find pairs that stand in an earlier split too."""
    return len(view.rows), _repeats(view, lambda row: row.texts, across=True)


def repeated_pair_id(view: InstanceView) -> tuple[int, Hits]:
    """Find pairs with the id of another."""
    return len(view.rows), _repeats(view, lambda row: (row.pair.pair_id,), across=None)


def _repeats(
    view: InstanceView, key: Callable[[SeenPair], tuple[str, ...]], *, across: bool | None
) -> Iterator[Hit]:
    """Yield each pair whose key a pair before it has: in another split, in its own, or in either (None)."""
    first: dict[tuple[str, ...], SeenPair] = {}
    for row in view.rows:
        earlier = first.setdefault(key(row), row)
        if earlier is row:
            continue
        if across is None or (earlier.split != row.split) == across:
            yield Hit(row.split, f"{row.pair.pair_id} in {row.split}, like {earlier.pair.pair_id}")


def near_spellings(view: InstanceView) -> tuple[int, Hits]:
    """Find entities that differ in case, blanks or accents only."""
    groups: dict[str, list[str]] = defaultdict(list)
    for entity in view.entities:
        groups[same_letters(entity)].append(entity)
    alike = [group for group in groups.values() if len(group) > 1]
    return len(view.entities), (
        Hit("all splits", " / ".join(map(repr, group))) for group in alike for _ in group
    )


def held_out_demonstration(view: InstanceView) -> tuple[int, Hits]:
    """Find training prompts that name a held-out entity."""
    held_out = {entity: None for row in view.with_held_out_entities() for entity in row.entities()}
    training = [row for row in view.rows if row.split == TRAIN_SPLIT]
    named = {
        template: name
        for template in {template: None for row in training for template in row.templates()}
        for name in held_out
        if mentions(template, name)
    }
    return len(training), (
        Hit(row.split, f"{named[template]!r} in {template!r}")
        for row in training
        for template in [t for t in row.templates() if t in named][:1]
    )


def text_asks(view: InstanceView) -> tuple[int, Hits]:
    """Find sources whose attribute-free text is a question elsewhere."""
    asked = {view.plain(prompt.template) for row in view.rows for prompt in _questions_of(row)}
    return len(view.with_texts), (
        Hit(row.split, f"{row.source.template!r}")
        for row in view.with_texts
        if view.plain(row.source.template) in asked
    )


def answer_in_question(view: InstanceView) -> tuple[int, Hits]:
    """Find base templates that state one of the answers."""
    return len(view.rows), _stating(view, view.rows, lambda row: row.base.template)


def answer_in_source(view: InstanceView) -> tuple[int, Hits]:
    """Find questions of sources that state one of the answers."""
    rows = [row for row in view.rows if row.source.attribute is not None]
    return len(rows), _stating(view, rows, lambda row: row.source.template)


def answer_in_text(view: InstanceView) -> tuple[int, Hits]:
    """Find attribute-free texts of sources that state one of the answers."""
    return len(view.with_texts), _stating(view, view.with_texts, lambda row: row.source.template)


def _stating(
    view: InstanceView, rows: Iterable[SeenPair], template_of: Callable[[SeenPair], str]
) -> Iterator[Hit]:
    for row in rows:
        template = template_of(row)
        for answer in (row.pair.if_unchanged, row.pair.if_swapped):
            if view.mentioned(template, answer):
                yield Hit(row.split, f"{answer!r} in {template!r}")
                break
