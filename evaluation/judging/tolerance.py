"""Which of two answers a text comes close enough to, where an attribute's matcher allows for that; it knows
no model and no tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ravel.asking.labels import extract_label, label_is_settled
from ravel.entity_types import ENTITY_TYPES
from ravel.matching import Matcher, Measuring, NumberWithin

_EXACT = -1.0
"""Nearer than any number: the label itself, word for word."""


@dataclass(frozen=True, slots=True)
class ToleranceRule:
    """Judges what a model freely says by an attribute's matcher, in its strict mode."""

    matcher: Matcher
    """The attribute's matcher; it has a tolerance."""

    def label(self, text: str) -> str:
        """Return the answer at the beginning of a continuation, cut as the labels of instances are."""
        return extract_label(text, numeric=self._numeric)

    def settled(self, text: str) -> bool:
        """Return whether every text that begins with `text` gets the same verdict."""
        return label_is_settled(text, numeric=self._numeric)

    def verdict(self, text: str, unchanged: str, swapped: str) -> tuple[bool, bool]:
        """Return whether `text` states the label `unchanged`, and whether it states `swapped`; never both.

        A label is stated by itself, and by what its matcher accepts. Where both are stated, the nearer one
        counts: the label itself before everything else, then the smaller distance. A text that is as near to
        one as to the other tells nothing and states neither.
        """
        said = self.label(text)
        first, second = self._gap(said, unchanged), self._gap(said, swapped)
        return first < second, second < first

    def _gap(self, said: str, label: str) -> float:
        """Return how far off the label is; `inf` if it is not stated."""
        if said.strip() == label.strip():
            return _EXACT
        if not self.matcher.matches(said, label):
            return math.inf
        distance = self.matcher.distance(said, label) if isinstance(self.matcher, Measuring) else None
        # What is accepted without a measure is farther than all that has one.
        return math.nextafter(math.inf, 0) if distance is None else distance

    @property
    def _numeric(self) -> bool:
        return isinstance(self.matcher, NumberWithin)


def tolerance_rules(entity_type: str) -> dict[str, ToleranceRule]:
    """Return the rule of each attribute that has a tolerance, by name; none for a type that is not
    registered."""
    if entity_type not in ENTITY_TYPES:
        return {}
    attributes = ENTITY_TYPES.get(entity_type).attributes
    return {a.name: ToleranceRule(a.matcher) for a in attributes if a.matcher.tolerance}
