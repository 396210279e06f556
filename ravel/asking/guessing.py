"""Whether a model's answers are about the entity it was asked about, or would fit any other as well; it asks
nothing.

A share of right answers alone does not tell: of five colours a fifth is guessed, and those that are kept
are the lucky ones. So every answer is also held against the value of the entity's rival.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ravel.asking.knowledge import Answers, Questioner

_ERRORS = 2.0
"""Standard errors that answers must fit their own entity better by."""
_ERRORS_OF_ONE = 3.0
"""The same where one attribute of several is to show knowledge: one of them passes the other by luck."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How well the answers for one attribute fit the entities asked about, and others."""

    own: float
    """Share that is right, every entity weighing the same."""
    other: float
    """Share that would be right about another entity."""
    error: float
    """Standard error of the difference, over entities."""

    @property
    def errors(self) -> float:
        """By how many standard errors they fit their own entity better."""
        better = self.own - self.other
        return better / self.error if self.error else math.copysign(math.inf, better) if better else 0.0

    @property
    def is_knowledge(self) -> bool:
        """Whether they fit their own entity better than chance lets them."""
        return self.errors > _ERRORS


def all_guessed(fits: Mapping[str, Fit]) -> bool:
    """Return whether no attribute on its own, nor all of them together (by the sum of their errors over the
    root of their number), shows that the model does more than guess; False if there are none."""
    errors = [fit.errors for fit in fits.values()]
    if not errors or max(errors) > _ERRORS_OF_ONE:
        return False
    return sum(errors) <= _ERRORS * math.sqrt(len(errors))


def fits_of(answers: Answers, questioner: Questioner) -> dict[str, Fit]:
    """Return the fit of the answers by attribute, over everything that was asked; an attribute of which fewer
    than two entities were asked is left out."""
    rival = np.zeros_like(answers.right)
    for row, column in np.argwhere(answers.asked):
        answer = answers.completions[row][column]
        assert answer is not None
        asked = answers.templates[row], answers.entities[column]
        rival[row, column] = questioner.fits_rival(*asked, answer.text)
    found = {}
    for attribute in dict.fromkeys(template.attribute or "" for template in answers.templates):
        rows = [i for i, template in enumerate(answers.templates) if template.attribute == attribute]
        counts = answers.asked[rows].sum(axis=0)
        heard = counts > 0
        own, other = (part[rows].sum(axis=0)[heard] / counts[heard] for part in (answers.right, rival))
        if len(own) > 1:
            error = float(np.std(own - other, ddof=1)) / math.sqrt(len(own))
            found[attribute] = Fit(float(own.mean()), float(other.mean()), error)
    return found
