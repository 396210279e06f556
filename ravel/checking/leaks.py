"""Looks for what would make the scores of an instance untrustworthy; it runs no model and mends nothing.

A leak is an error: held-out pairs that are not held out, texts that tell an answer by naming an entity, pairs
counted twice. A note is a measured share of something that is no mistake but worth knowing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from ravel.instance.instance import Instance
from ravel.terms.mentions import mentions, same_letters, same_text
from ravel.terms.partitions import SPLIT_PLANS
from ravel.terms.schema import TRAIN_SPLIT, InterchangePair, Prompt

__all__ = ["LEAK_CHECKS", "Leak", "LeakCheck", "Severity", "find_leaks", "has_leaks"]

Severity = Literal["error", "note"]

_EXAMPLES = 3


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


@dataclass(frozen=True, slots=True)
class Leak:
    """What one check found; there is none where it found nothing."""

    kind: str
    """The check, one of `LEAK_CHECKS`."""
    severity: Severity
    """As in the check."""
    count: int
    """How many pairs or entities; at least 1."""
    of: int
    """Out of how many that the check is about."""
    examples: tuple[str, ...]
    """The first few, in words."""
    text: str
    """All of it in one sentence."""


LEAK_CHECKS: tuple[LeakCheck, ...] = (
    LeakCheck(
        "held_out_entity", "error", "pairs", "an entity of a held-out split occurs in training or selection"
    ),
    LeakCheck(
        "held_out_template",
        "error",
        "pairs",
        "a template or text of a held-out split occurs in training or selection",
    ),
    LeakCheck(
        "wrong_partition",
        "error",
        "pairs",
        "the manifest puts an entity or a template of the pair into another partition",
    ),
    LeakCheck(
        "named_in_question",
        "error",
        "pairs",
        "a question names an entity of its pair outside the slot, as a demonstration",
    ),
    LeakCheck(
        "named_in_text", "error", "pairs", "an attribute-free text names an entity of its pair a second time"
    ),
    LeakCheck("one_entity", "error", "pairs", "base and source have the same entity, up to case"),
    LeakCheck("repeated_pair", "error", "pairs", "the same base and source stand twice in a split"),
    LeakCheck("pair_in_two_splits", "error", "pairs", "the same base and source stand in an earlier split"),
    LeakCheck("repeated_pair_id", "error", "pairs", "another pair has the same id"),
    LeakCheck(
        "near_spellings",
        "note",
        "entities",
        "another entity differs in case, blanks or accents only; it may be another place or the same",
    ),
    LeakCheck(
        "held_out_demonstration",
        "note",
        "pairs",
        "a training prompt names a held-out entity; no vector is read there",
    ),
    LeakCheck("text_asks", "note", "pairs", "the attribute-free text of the source is a question elsewhere"),
    LeakCheck(
        "answer_in_question",
        "note",
        "pairs",
        "the base's template states one of the answers, as few-shot templates do",
    ),
    LeakCheck(
        "answer_in_source", "note", "pairs", "the question of the source states one of the answers, likewise"
    ),
    LeakCheck(
        "answer_in_text", "note", "pairs", "the attribute-free text of the source states one of the answers"
    ),
)
"""Every check, errors first; the order of tables."""


def find_leaks(instance: Instance) -> tuple[Leak, ...]:
    """Return what the checks found, in the order of `LEAK_CHECKS`; an empty tuple if nothing at all.

    What is held out depends on the generalisation. Splits of `context` hold out templates and may have any
    entities, those of `entity` the other way round, those of `entity_context` hold out both. Whatever a val
    split holds out must not occur in training; whatever a test split holds out, neither there nor in any val
    split, for those choose. This counts the entities of bases and sources and the templates of both,
    attribute-free texts included. The swapped prompt is the base's template with the source's entity, so it
    adds none; but as its words outside the slot are the base's, that template must name neither entity.

    Names and templates that differ in case, blanks or Unicode form only count as one. Accents tell apart,
    for San Jose and San José are two cities: such spellings are a note. A name is found outside the slot as
    a whole word (`ravel.terms.mentions`). Test splits that are withheld are not looked at.
    """
    view = _View(instance)
    leaks = (_leak(check, view) for check in LEAK_CHECKS)
    return tuple(leak for leak in leaks if leak is not None)


def has_leaks(leaks: Iterable[Leak]) -> bool:
    """Return whether any of them is an error."""
    return any(leak.severity == "error" for leak in leaks)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A pair with its place and its two prompts."""

    split: str
    pair: InterchangePair
    base: Prompt
    source: Prompt

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
class _Hit:
    """Something that a check found."""

    where: str
    example: str


Hits = Iterable[_Hit]
_Finder = Callable[["_View"], tuple[int, Hits]]


class _View:
    """An instance as checks read it; each spelling and each search is worked out once."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.plans = {plan.name: plan for plan in SPLIT_PLANS}
        self.rows = tuple(
            _Seen(split, pair, instance.prompt(pair.base).prompt, instance.prompt(pair.source).prompt)
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

    def with_held_out_entities(self) -> list[_Seen]:
        """Return the pairs of the splits that hold out entities."""
        return [row for row in self.rows if self.plans[row.split].entities != "train"]

    def with_held_out_templates(self) -> list[_Seen]:
        """Return the pairs of the splits that hold out templates."""
        return [row for row in self.rows if self.plans[row.split].templates != "train"]

    @cached_property
    def entities(self) -> tuple[str, ...]:
        """Each entity once, in order."""
        return tuple(dict.fromkeys(entity for row in self.rows for entity in row.entities()))


def _leak(check: LeakCheck, view: _View) -> Leak | None:
    of, hits = _FINDERS[check.kind](view)
    found = list(hits)
    if not found:
        return None
    examples = tuple(dict.fromkeys(hit.example for hit in found))[:_EXAMPLES]
    places = ", ".join(f"{split} {count}" for split, count in Counter(hit.where for hit in found).items())
    text = (
        f"{check.kind}: {check.meaning}: {len(found)} of {of} {check.unit} ({places}), such as {examples[0]}"
    )
    return Leak(check.kind, check.severity, len(found), of, examples, text)


def _earlier(view: _View, parts: Callable[[_Seen], Iterable[str]]) -> Mapping[str, Mapping[str, str]]:
    """Return, for val and for test, what comes before it, with the split where it first occurs."""
    before: dict[str, dict[str, str]] = {"val": {}, "test": {}}
    for row in view.rows:
        for partition, found in before.items():
            if row.split == TRAIN_SPLIT or (partition == "test" and row.split.endswith("_val")):
                for part in parts(row):
                    found.setdefault(view.plain(part), row.split)
    return before


def _held_out_entity(view: _View) -> tuple[int, Hits]:
    before = _earlier(view, _Seen.entities)
    rows = view.with_held_out_entities()
    return len(rows), _occurring(view, rows, before, _Seen.entities)


def _held_out_template(view: _View) -> tuple[int, Hits]:
    before = _earlier(view, _Seen.templates)
    rows = view.with_held_out_templates()
    return len(rows), _occurring(view, rows, before, _Seen.templates)


def _occurring(
    view: _View,
    rows: Iterable[_Seen],
    before: Mapping[str, Mapping[str, str]],
    parts: Callable[[_Seen], Iterable[str]],
) -> Iterator[_Hit]:
    for row in rows:
        known = before[row.split.rpartition("_")[2]]
        for part in parts(row):
            if (earlier := known.get(view.plain(part))) is not None:
                yield _Hit(row.split, f"{part!r} of {row.pair.pair_id}, in {earlier} as well")
                break


def _wrong_partition(view: _View) -> tuple[int, Hits]:
    manifest = view.instance.manifest
    entities = {name: part for part, names in manifest.entities.items() for name in names}
    templates = {(t["template"], t["attribute"]): t["partition"] for t in manifest.templates}
    return (len(view.rows) if entities or templates else 0), _misplaced(view, entities, templates)


def _misplaced(
    view: _View, entities: Mapping[str, str], templates: Mapping[tuple[str, str | None], str]
) -> Iterator[_Hit]:
    for row in view.rows:
        plan = view.plans[row.split]
        stated = [(name, entities.get(name, plan.entities), plan.entities) for name in row.entities()]
        for prompt in (row.base, row.source):
            partition = templates.get((prompt.template, prompt.attribute), plan.templates)
            stated.append((prompt.template, partition, plan.templates))
        for name, said, wanted in stated:
            if said != wanted:
                yield _Hit(row.split, f"{name!r} of {row.pair.pair_id}, which belongs to {said}")
                break


def _named_in_question(view: _View) -> tuple[int, Hits]:
    return len(view.rows), _named(view, lambda row: _questions_of(row))


def _named_in_text(view: _View) -> tuple[int, Hits]:
    rows = [row for row in view.rows if row.source.attribute is None]
    return len(rows), _named(view, lambda row: [row.source] if row.source.attribute is None else [])


def _questions_of(row: _Seen) -> list[Prompt]:
    return [prompt for prompt in (row.base, row.source) if prompt.attribute is not None]


def _named(view: _View, prompts_of: Callable[[_Seen], Iterable[Prompt]]) -> Iterator[_Hit]:
    for row in view.rows:
        names = [
            (entity, prompt.template)
            for prompt in prompts_of(row)
            for entity in row.entities()
            if view.mentioned(prompt.template, entity)
        ]
        if names:
            yield _Hit(row.split, f"{names[0][0]!r} of {row.pair.pair_id} in {names[0][1]!r}")


def _one_entity(view: _View) -> tuple[int, Hits]:
    return len(view.rows), (
        _Hit(row.split, f"{row.base.entity!r} and {row.source.entity!r} in {row.pair.pair_id}")
        for row in view.rows
        if view.plain(row.base.entity) == view.plain(row.source.entity)
    )


def _repeated_pair(view: _View) -> tuple[int, Hits]:
    return len(view.rows), _repeats(view, lambda row: (row.split, *row.texts), across=False)


def _pair_in_two_splits(view: _View) -> tuple[int, Hits]:
    return len(view.rows), _repeats(view, lambda row: row.texts, across=True)


def _repeated_pair_id(view: _View) -> tuple[int, Hits]:
    return len(view.rows), _repeats(view, lambda row: (row.pair.pair_id,), across=None)


def _repeats(view: _View, key: Callable[[_Seen], tuple[str, ...]], *, across: bool | None) -> Iterator[_Hit]:
    """Yield each pair whose key a pair before it has: in another split, in its own, or in either (None)."""
    first: dict[tuple[str, ...], _Seen] = {}
    for row in view.rows:
        earlier = first.setdefault(key(row), row)
        if earlier is row:
            continue
        if across is None or (earlier.split != row.split) == across:
            yield _Hit(row.split, f"{row.pair.pair_id} in {row.split}, like {earlier.pair.pair_id}")


def _near_spellings(view: _View) -> tuple[int, Hits]:
    groups: dict[str, list[str]] = defaultdict(list)
    for entity in view.entities:
        groups[same_letters(entity)].append(entity)
    alike = [group for group in groups.values() if len(group) > 1]
    return len(view.entities), (
        _Hit("all splits", " / ".join(map(repr, group))) for group in alike for _ in group
    )


def _held_out_demonstration(view: _View) -> tuple[int, Hits]:
    held_out = {entity: None for row in view.with_held_out_entities() for entity in row.entities()}
    training = [row for row in view.rows if row.split == TRAIN_SPLIT]
    named = {
        template: name
        for template in {template: None for row in training for template in row.templates()}
        for name in held_out
        if mentions(template, name)
    }
    return len(training), (
        _Hit(row.split, f"{named[template]!r} in {template!r}")
        for row in training
        for template in [t for t in row.templates() if t in named][:1]
    )


def _text_asks(view: _View) -> tuple[int, Hits]:
    asked = {view.plain(prompt.template) for row in view.rows for prompt in _questions_of(row)}
    rows = [row for row in view.rows if row.source.attribute is None]
    return len(rows), (
        _Hit(row.split, f"{row.source.template!r}")
        for row in rows
        if view.plain(row.source.template) in asked
    )


def _answer_in_question(view: _View) -> tuple[int, Hits]:
    return len(view.rows), _stating(view, view.rows, lambda row: row.base.template)


def _answer_in_source(view: _View) -> tuple[int, Hits]:
    rows = [row for row in view.rows if row.source.attribute is not None]
    return len(rows), _stating(view, rows, lambda row: row.source.template)


def _answer_in_text(view: _View) -> tuple[int, Hits]:
    rows = [row for row in view.rows if row.source.attribute is None]
    return len(rows), _stating(view, rows, lambda row: row.source.template)


def _stating(view: _View, rows: Iterable[_Seen], template_of: Callable[[_Seen], str]) -> Iterator[_Hit]:
    for row in rows:
        template = template_of(row)
        for answer in (row.pair.if_unchanged, row.pair.if_swapped):
            if view.mentioned(template, answer):
                yield _Hit(row.split, f"{answer!r} in {template!r}")
                break


_FINDERS: Mapping[str, _Finder] = {
    "held_out_entity": _held_out_entity,
    "held_out_template": _held_out_template,
    "wrong_partition": _wrong_partition,
    "named_in_question": _named_in_question,
    "named_in_text": _named_in_text,
    "one_entity": _one_entity,
    "repeated_pair": _repeated_pair,
    "pair_in_two_splits": _pair_in_two_splits,
    "repeated_pair_id": _repeated_pair_id,
    "near_spellings": _near_spellings,
    "held_out_demonstration": _held_out_demonstration,
    "text_asks": _text_asks,
    "answer_in_question": _answer_in_question,
    "answer_in_source": _answer_in_source,
    "answer_in_text": _answer_in_text,
}
