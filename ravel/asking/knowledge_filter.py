"""Which entities and templates a model knows well enough to go on; it asks nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ravel.asking.knowledge import Answers, Kept
from ravel.common.seeds import numpy_stream
from ravel.terms.partitions import share_out
from ravel.terms.schema import (
    PARTITIONS,
    EntityFacts,
    Partition,
    Template,
)


def keep_best(
    answers: Answers,
    *,
    entities: int,
    templates_per_attribute: int,
    templates_overall: int,
    templates_always: int,
    seed: int,
) -> Kept:
    """Keep the entities and templates with most right answers, or right samples where answers were drawn by
    chance: the rank rule of the published recipe.

    The `entities` best by number of right answers; then, by right answers over these, the
    `templates_per_attribute` best of each attribute, of which those stay that are among the
    `templates_overall` best of all or the `templates_always` best of their attribute (400, 12, 200 and 4
    there; RAVEL, arXiv 2402.17700, public adaptations).

    Departures: each of these numbers is shared out among the partitions in proportion to their candidates,
    and ranks are taken inside a partition, as ranking over all of them together leaves small partitions
    empty by chance (and templates of different partitions are not asked about the same entities); what has
    no right answer at all is never kept. Ties are broken by lot, as the order of the data is often that of
    the alphabet.
    """
    stream, (_, right) = numpy_stream(seed, "ties of ranks"), answers.tally()
    columns = _Ranking.of(answers.entities, right.sum(axis=0), stream).best(entities)
    ranking = _Ranking.of(answers.templates, right[:, columns].sum(axis=1), stream)
    overall = ranking.best(templates_overall)
    rows: set[int] = set()
    for attribute in dict.fromkeys(template.attribute for template in answers.templates):
        own = [row for row, template in enumerate(answers.templates) if template.attribute == attribute]
        always = ranking.best(templates_always, among=own)
        rows.update({*ranking.best(templates_per_attribute, among=own)} & {*overall, *always})
    return Kept(tuple(sorted(rows)), tuple(columns))


def best_entities(answers: Answers, total: int, *, seed: int) -> list[int]:
    """Return the indices of the `total` entities with most right answers, shared out among the partitions.

    An entity without any right answer is never among them; ties are broken by lot.
    """
    stream = numpy_stream(seed, "ties of the shortlist")
    return _Ranking.of(answers.entities, answers.right.sum(axis=0), stream).best(total)


@dataclass(frozen=True, slots=True)
class _Ranking:
    """Members of partitions by their number of right answers; ties by lot."""

    partitions: tuple[Partition, ...]
    counts: tuple[int, ...]
    lots: tuple[float, ...]

    @classmethod
    def of(
        cls,
        members: Sequence[Template] | Sequence[EntityFacts],
        counts: NDArray[np.int_],
        stream: np.random.Generator,
    ) -> _Ranking:
        partitions = tuple(member.partition for member in members)
        return cls(partitions, tuple(counts.tolist()), tuple(stream.random(len(members)).tolist()))

    def best(self, total: int, *, among: Sequence[int] | None = None) -> list[int]:
        """Return the best of all, or of some, shared out among the partitions; in order of index."""
        candidates = range(len(self.counts)) if among is None else among
        members = {p: [i for i in candidates if self.partitions[i] == p] for p in PARTITIONS}
        shares = share_out(total, {partition: len(found) for partition, found in members.items()})
        best = []
        for partition, found in members.items():
            ranked = sorted(found, key=lambda index: (-self.counts[index], self.lots[index]))
            best += [index for index in ranked[: shares[partition]] if self.counts[index] > 0]
        return sorted(best)


def keep_above(answers: Answers, threshold: float) -> Kept:
    """Keep entities and templates with an accuracy of at least `threshold`, measured over the kept others.

    Whatever is furthest below the threshold goes first and the rest is measured again, until nothing is
    below: one bad template does not cost every entity its place, nor the other way round. Ties drop the
    later one.
    """
    asked, right = answers.tally()
    rows, columns = _Tally(asked, right), _Tally(asked.T, right.T)
    while True:
        (row, low_row), (column, low_column) = rows.lowest(), columns.lowest()
        if min(low_row, low_column) >= threshold:
            break
        if low_row <= low_column:
            rows.drop(row)
            columns.forget(asked[row], right[row])
        else:
            columns.drop(column)
            rows.forget(asked[:, column], right[:, column])
    return Kept(rows.members(), columns.members())


class _Tally:
    """Running counts of asked and right for the rows of a matrix, of which some are dropped."""

    def __init__(self, asked: NDArray[np.int64], right: NDArray[np.int64]) -> None:
        self._asked = asked.sum(axis=1)
        self._right = right.sum(axis=1)
        self._alive = np.ones(len(asked), dtype=np.bool_)

    def lowest(self) -> tuple[int, float]:
        """Return the last of the rows with the lowest accuracy; one that is asked nothing has 0."""
        if not self._alive.any():
            return -1, float("inf")
        accuracy = np.where(self._alive, self._right / np.maximum(self._asked, 1), np.inf)
        index = len(accuracy) - 1 - int(np.argmin(accuracy[::-1]))
        return index, float(accuracy[index])

    def drop(self, index: int) -> None:
        self._alive[index] = False

    def forget(self, asked: NDArray[np.int64], right: NDArray[np.int64]) -> None:
        """Take away the counts of a dropped column."""
        self._asked -= asked
        self._right -= right

    def members(self) -> tuple[int, ...]:
        return tuple(int(index) for index in np.flatnonzero(self._alive))


def knowledge_of(answers: Answers, kept: Kept) -> dict[str, Any]:
    """Return the model's accuracy as plain values: per attribute (candidates, kept) and per template.

    An accuracy over no answers is None.
    """
    attributes = list(dict.fromkeys(template.attribute or "" for template in answers.templates))
    everything = Kept(tuple(range(len(answers.templates))), tuple(range(len(answers.entities))))
    return {
        "attributes": {
            name: {"candidates": _accuracy(answers, everything, name), "kept": _accuracy(answers, kept, name)}
            for name in attributes
        },
        "templates": [
            {
                "template": template.text,
                "attribute": template.attribute,
                "partition": template.partition,
                "kept": row in kept.templates,
                **_ratio(int(answers.right[row].sum()), int(answers.asked[row].sum())),
            }
            for row, template in enumerate(answers.templates)
        ],
    }


def _accuracy(answers: Answers, kept: Kept, attribute: str) -> Mapping[str, float | int | None]:
    rows = [row for row in kept.templates if answers.templates[row].attribute == attribute]
    cells = np.ix_(rows, list(kept.entities))
    found = _ratio(int(answers.right[cells].sum()), int(answers.asked[cells].sum()))
    if answers.right_samples is None:
        return found
    drawn, right = (int(part[cells].sum()) for part in answers.tally())
    return {**found, "sampled_accuracy": right / drawn if drawn else None}


def _ratio(right: int, asked: int) -> dict[str, float | int | None]:
    return {"asked": asked, "right": right, "accuracy": right / asked if asked else None}
