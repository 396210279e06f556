"""Asks a model only what can still change which entities and templates are kept; it knows no labels.

The rule of `selection: staged`, which is not the reference's. Every template is asked about a small sample
of entities first; then, a share of the templates at a time and those best on the sample first, every entity
that is left. After each step what can hardly be kept any more drops out: a template or entity whose accuracy
so far, some standard errors added, is below that of the last one which would be kept. `keep_best` ranks those
that are left at the end, and all of these have been asked everything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ravel.asking.knowledge import Answers, Questioner, askable
from ravel.common.seeds import evenly_spread
from ravel.terms.partitions import share_out
from ravel.terms.schema import PARTITIONS, EntityFacts, Template

_SAMPLE = 24
"""Entities of a partition that every template is asked about, at most."""
_SAMPLED_SHARE = 0.25
"""The same as a share of the partition: of a few entities a large sample saves nothing."""
_STEPS = (0.1, 0.2, 0.35, 0.6, 1.0)
"""Shares of the templates that are left, up to which the entities that are left have been asked."""
_TEMPLATE_ERRORS = 2.5
"""Standard errors below the last kept at which a template drops out: a sample of few entities says little."""
_ENTITY_ERRORS = 1.5
"""The same of an entity. In trials more of them changed nothing of note and cost more questions."""
_LEAST_VARIANCE = 0.05
"""Of one answer: what was right (or wrong) each time so far need not stay so."""


@dataclass(frozen=True, slots=True)
class Staged:
    """What was asked in stages."""

    answers: Answers
    """Everything that was asked."""
    rows: tuple[int, ...]
    """Templates that did not drop out."""
    columns: tuple[int, ...]
    """Entities that did not drop out."""

    def finalists(self) -> Answers:
        """Return the answers with no right one outside the rows and columns that are left, so that nothing
        else is kept."""
        left = np.zeros_like(self.answers.right)
        left[np.ix_(self.rows, self.columns)] = True
        return replace(self.answers, right=self.answers.right & left)


def ask_in_stages(
    questioner: Questioner, answers: Answers, *, entities: int, templates_per_attribute: int
) -> Staged:
    """Ask what the docstring of this module says, on from `answers`, of which some may be there."""
    wanted = askable(answers.templates, answers.entities)
    sample = _sample(answers.entities)
    on_few = wanted & _only(sample, wanted.shape[1])
    answers = questioner.ask_more(answers, on_few, stop="judged", stage="answers about a sample")
    on_sample = wanted[:, sample].sum(axis=1), answers.right[:, sample].sum(axis=1)
    fields = _template_fields(answers.templates, templates_per_attribute)
    rows = _left(fields, *on_sample, wanted.sum(axis=1), errors=_TEMPLATE_ERRORS)
    order = _best_first(fields, rows, *on_sample)
    columns = np.arange(len(answers.entities))
    for number, share in enumerate(_STEPS, start=1):
        step = _among(order, share)
        chosen = np.zeros_like(wanted)
        chosen[np.ix_(np.array(step, dtype=np.int_), columns)] = True
        stage = f"answers, step {number} of {len(_STEPS)}"
        answers = questioner.ask_more(answers, wanted & chosen, stop="judged", stage=stage)
        if share < 1:
            asked, right = wanted[step].sum(axis=0), answers.right[step].sum(axis=0)
            total = wanted[rows].sum(axis=0)
            field = _entity_fields(answers.entities, entities, columns)
            columns = _left(field, asked, right, total, errors=_ENTITY_ERRORS)
    return Staged(answers, tuple(rows.tolist()), tuple(columns.tolist()))


def fewest_questions(entities: Sequence[EntityFacts], wanted: NDArray[np.bool_], places: int) -> int:
    """Return about how many of the `wanted` questions are asked if all that can drop out does so at once."""
    sampled, share = int(wanted[:, _sample(entities)].sum()), places / max(1, len(entities))
    left = int(wanted.sum()) - sampled
    return sampled + round(left * (_STEPS[0] + (1 - _STEPS[0]) * min(1.0, share)))


@dataclass(frozen=True, slots=True)
class _Field:
    """Candidates that compete for places."""

    members: NDArray[np.int_]
    """Their indices."""
    places: int
    """How many are kept."""


def _sample(entities: Sequence[EntityFacts]) -> list[int]:
    """Return some entities of each partition, at even distances."""
    found = []
    for partition in PARTITIONS:
        own = [i for i, facts in enumerate(entities) if facts.partition == partition]
        size = min(_SAMPLE, math.ceil(_SAMPLED_SHARE * len(own)))
        found += evenly_spread(own, size)
    return sorted(found)


def _only(columns: Sequence[int], count: int) -> NDArray[np.bool_]:
    found = np.zeros(count, dtype=np.bool_)
    found[list(columns)] = True
    return found


def _fields_of(
    members: Sequence[int], partition_of: Callable[[int], str], total: int, alive: NDArray[np.int_]
) -> list[_Field]:
    """Share the places out among the partitions as `keep_best` does."""
    by_partition = {p: [i for i in members if partition_of(i) == p] for p in PARTITIONS}
    shares = share_out(total, {p: len(found) for p, found in by_partition.items()})
    return [_Field(np.intersect1d(found, alive), shares[p]) for p, found in by_partition.items() if found]


def _template_fields(templates: Sequence[Template], total: int) -> list[_Field]:
    everything = np.arange(len(templates))
    fields = []
    for attribute in dict.fromkeys(template.attribute for template in templates):
        own = [i for i, template in enumerate(templates) if template.attribute == attribute]
        fields += _fields_of(own, lambda i: templates[i].partition, total, everything)
    return fields


def _entity_fields(entities: Sequence[EntityFacts], total: int, alive: NDArray[np.int_]) -> list[_Field]:
    return _fields_of(range(len(entities)), lambda i: entities[i].partition, total, alive)


def _left(
    fields: Sequence[_Field],
    asked: NDArray[np.int_],
    right: NDArray[np.int_],
    total: NDArray[np.int_],
    *,
    errors: float,
) -> NDArray[np.int_]:
    """Return who may still be kept, of candidates that were `asked` so many of `total` questions."""
    accuracy = right / np.maximum(asked, 1)
    spread = np.maximum(accuracy * (1 - accuracy), _LEAST_VARIANCE) / np.maximum(asked, 1)
    # What was asked of everything can't change any more.
    best = accuracy + errors * np.sqrt(spread * (1 - asked / np.maximum(total, 1)))
    best[asked == 0] = 1.0
    found = []
    for field in fields:
        own = field.members
        last_kept = np.sort(accuracy[own])[::-1][: field.places]
        found.append(own[best[own] >= (last_kept[-1] if len(last_kept) else 0.0)])
    return np.sort(np.concatenate(found)) if found else np.zeros(0, dtype=np.int_)


def _best_first(
    fields: Sequence[_Field], rows: NDArray[np.int_], asked: NDArray[np.int_], right: NDArray[np.int_]
) -> list[list[int]]:
    """Return the rows that are left of each field, most accurate first."""
    accuracy = right / np.maximum(asked, 1)
    own = [np.intersect1d(field.members, rows).tolist() for field in fields]
    return [sorted(members, key=lambda row: (-accuracy[row], row)) for members in own]


def _among(order: Sequence[Sequence[int]], share: float) -> list[int]:
    """Return the first of each list, so many that they are the share of it."""
    return sorted(row for rows in order for row in rows[: math.ceil(share * len(rows))])
