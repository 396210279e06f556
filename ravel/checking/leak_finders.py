"""What each leak check says and how it finds it, over the pairs of an instance; it adds nothing up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from ravel.common.seeds import grouped
from ravel.instance import Instance
from ravel.terms.mentions import mentions, same_letters, same_text
from ravel.terms.partitions import SPLIT_PLANS
from ravel.terms.schema import TRAIN_SPLIT, InterchangePair, Prompt

Severity = Literal["error", "note"]


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


@dataclass(frozen=True, slots=True)
class LeakCheck:
    """One thing that is looked for."""

    kind: str
    """Its name, as in `held_out_entity`."""
    severity: Severity
    """`error` for a leak, `note` for a share that is worth knowing."""
    unit: str
    """What is counted: pairs or entities."""
    meaning: str
    """What a count above 0 says, in one line."""
    find: Finder
    """Counts what the check is about and yields what it found."""


Maker = Callable[[Finder], LeakCheck]


def _error(meaning: str) -> Maker:
    return lambda find: LeakCheck(find.__name__[1:], "error", "pairs", meaning, find)


def _note(meaning: str, unit: str = "pairs") -> Maker:
    return lambda find: LeakCheck(find.__name__[1:], "note", unit, meaning, find)


def _earlier(
    view: InstanceView, parts: Callable[[SeenPair], Iterable[str]]
) -> Mapping[str, Mapping[str, str]]:
    """Return, for val and for test, what comes before it, with the split where it first occurs."""
    before: dict[str, dict[str, str]] = {"val": {}, "test": {}}
    for row in view.rows:
        for partition, seen in before.items():
            if row.split == TRAIN_SPLIT or (partition == "test" and row.split.endswith("_val")):
                for part in parts(row):
                    seen.setdefault(view.plain(part), row.split)
    return before


@_error("an entity of a held-out split occurs in training or selection")
def _held_out_entity(view: InstanceView) -> tuple[int, Hits]:
    before = _earlier(view, SeenPair.entities)
    rows = view.with_held_out_entities()
    return len(rows), _occurring(view, rows, before, SeenPair.entities)


@_error("a template or text of a held-out split occurs in training or selection")
def _held_out_template(view: InstanceView) -> tuple[int, Hits]:
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


@_error("the manifest puts an entity or a template of the pair into another partition")
def _wrong_partition(view: InstanceView) -> tuple[int, Hits]:
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


@_error("a question names an entity of its pair outside the slot, as a demonstration")
def _named_in_question(view: InstanceView) -> tuple[int, Hits]:
    return len(view.rows), _named(view, view.rows, _questions_of)


@_error("an attribute-free text names an entity of its pair a second time")
def _named_in_text(view: InstanceView) -> tuple[int, Hits]:
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


@_error("base and source have the same entity, up to case")
def _one_entity(view: InstanceView) -> tuple[int, Hits]:
    return len(view.rows), (
        Hit(row.split, f"{row.base.entity!r} and {row.source.entity!r} in {row.pair.pair_id}")
        for row in view.rows
        if view.plain(row.base.entity) == view.plain(row.source.entity)
    )


@_error("the same base and source stand twice in a split")
def _repeated_pair(view: InstanceView) -> tuple[int, Hits]:
    return len(view.rows), _repeats(view, lambda row: (row.split, *row.texts), across=False)


@_error("the same base and source stand in an earlier split")
def _pair_in_two_splits(view: InstanceView) -> tuple[int, Hits]:
    return len(view.rows), _repeats(view, lambda row: row.texts, across=True)


@_error("another pair has the same id")
def _repeated_pair_id(view: InstanceView) -> tuple[int, Hits]:
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


@_note(
    "another entity differs in case, blanks or accents only; it may be another place or the same",
    unit="entities",
)
def _near_spellings(view: InstanceView) -> tuple[int, Hits]:
    alike = [group for group in grouped(view.entities, same_letters).values() if len(group) > 1]
    return len(view.entities), (
        Hit("all splits", " / ".join(map(repr, group))) for group in alike for _ in group
    )


@_note("a training prompt names a held-out entity; no vector is read there")
def _held_out_demonstration(view: InstanceView) -> tuple[int, Hits]:
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


@_note("the attribute-free text of the source is a question elsewhere")
def _text_asks(view: InstanceView) -> tuple[int, Hits]:
    asked = {view.plain(prompt.template) for row in view.rows for prompt in _questions_of(row)}
    return len(view.with_texts), (
        Hit(row.split, f"{row.source.template!r}")
        for row in view.with_texts
        if view.plain(row.source.template) in asked
    )


@_note("the base's template states one of the answers, as few-shot templates do")
def _answer_in_question(view: InstanceView) -> tuple[int, Hits]:
    return len(view.rows), _stating(view, view.rows, lambda row: row.base.template)


@_note("the question of the source states one of the answers, likewise")
def _answer_in_source(view: InstanceView) -> tuple[int, Hits]:
    rows = [row for row in view.rows if row.source.attribute is not None]
    return len(rows), _stating(view, rows, lambda row: row.source.template)


@_note("the attribute-free text of the source states one of the answers")
def _answer_in_text(view: InstanceView) -> tuple[int, Hits]:
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


LEAK_CHECKS = (
    _held_out_entity,
    _held_out_template,
    _wrong_partition,
    _named_in_question,
    _named_in_text,
    _one_entity,
    _repeated_pair,
    _pair_in_two_splits,
    _repeated_pair_id,
    _near_spellings,
    _held_out_demonstration,
    _text_asks,
    _answer_in_question,
    _answer_in_source,
    _answer_in_text,
)
"""Every check, errors first; the order of tables."""
