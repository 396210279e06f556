"""Looks for what would make the scores of an instance untrustworthy; it runs no model and mends nothing. A
leak is an error; a note is a measured share of something that is no mistake but worth knowing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ravel.checking.leak_finders import LEAK_CHECKS, InstanceView, LeakCheck, Severity
from ravel.instance import Instance

__all__ = ["LEAK_CHECKS", "Leak", "LeakCheck", "Severity", "find_leaks", "has_leaks"]

_EXAMPLES = 3


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
    view = InstanceView(instance)
    leaks = (_leak(check, view) for check in LEAK_CHECKS)
    return tuple(leak for leak in leaks if leak is not None)


def has_leaks(leaks: Iterable[Leak]) -> bool:
    """Return whether any of them is an error."""
    return any(leak.severity == "error" for leak in leaks)


def _leak(check: LeakCheck, view: InstanceView) -> Leak | None:
    of, hits = check.find(view)
    listed = list(hits)
    if not listed:
        return None
    examples = tuple(dict.fromkeys(hit.example for hit in listed))[:_EXAMPLES]
    places = ", ".join(f"{split} {count}" for split, count in Counter(hit.where for hit in listed).items())
    text = (
        f"{check.kind}: {check.meaning}: {len(listed)} of {of} {check.unit} ({places}), such as {examples[0]}"
    )
    return Leak(check.kind, check.severity, len(listed), of, examples, text)
