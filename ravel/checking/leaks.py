"""Looks for what would make the scores of an instance untrustworthy; it runs no model and mends nothing. A
leak is an error; a note is a measured share of something that is no mistake but worth knowing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ravel.checking import leak_finders as finders
from ravel.instance import Instance

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
    find: finders.Finder
    """Counts what the check is about and yields what it found."""


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


def _error(find: finders.Finder, meaning: str) -> LeakCheck:
    return LeakCheck(find.__name__, "error", "pairs", meaning, find)


def _note(find: finders.Finder, meaning: str, unit: str = "pairs") -> LeakCheck:
    return LeakCheck(find.__name__, "note", unit, meaning, find)


LEAK_CHECKS: tuple[LeakCheck, ...] = (
    _error(finders.held_out_entity, "an entity of a held-out split occurs in training or selection"),
    _error(
        finders.held_out_template, "a template or text of a held-out split occurs in training or selection"
    ),
    _error(
        finders.wrong_partition,
        "the manifest puts an entity or a template of the pair into another partition",
    ),
    _error(
        finders.named_in_question,
        "a question names an entity of its pair outside the slot, as a demonstration",
    ),
    _error(finders.named_in_text, "an attribute-free text names an entity of its pair a second time"),
    _error(finders.one_entity, "base and source have the same entity, up to case"),
    _error(finders.repeated_pair, "the same base and source stand twice in a split"),
    _error(finders.pair_in_two_splits, "the same base and source stand in an earlier split"),
    _error(finders.repeated_pair_id, "another pair has the same id"),
    _note(
        finders.near_spellings,
        "another entity differs in case, blanks or accents only; it may be another place or the same",
        unit="entities",
    ),
    _note(
        finders.held_out_demonstration, "a training prompt names a held-out entity; no vector is read there"
    ),
    _note(finders.text_asks, "the attribute-free text of the source is a question elsewhere"),
    _note(
        finders.answer_in_question, "the base's template states one of the answers, as few-shot templates do"
    ),
    _note(finders.answer_in_source, "the question of the source states one of the answers, likewise"),
    _note(finders.answer_in_text, "the attribute-free text of the source states one of the answers"),
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
    view = finders.InstanceView(instance)
    leaks = (_leak(check, view) for check in LEAK_CHECKS)
    return tuple(leak for leak in leaks if leak is not None)


def has_leaks(leaks: Iterable[Leak]) -> bool:
    """Return whether any of them is an error."""
    return any(leak.severity == "error" for leak in leaks)


def _leak(check: LeakCheck, view: finders.InstanceView) -> Leak | None:
    of, hits = check.find(view)
    found = list(hits)
    if not found:
        return None
    examples = tuple(dict.fromkeys(hit.example for hit in found))[:_EXAMPLES]
    places = ", ".join(f"{split} {count}" for split, count in Counter(hit.where for hit in found).items())
    text = (
        f"{check.kind}: {check.meaning}: {len(found)} of {of} {check.unit} ({places}), such as {examples[0]}"
    )
    return Leak(check.kind, check.severity, len(found), of, examples, text)
