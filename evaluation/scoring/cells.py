"""The cells of a grid, from what the model said in them to the choice and all records of a run; it runs no
model and reads no file itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from das.sites import Site
from evaluation.records.scores import AverageRecord, ComparisonRecord, JudgedCase, ScoreRecord
from evaluation.scoring.clusters import Clusters, clusters_of
from evaluation.scoring.scores import FeaturizerId, score_kinds, score_outcomes
from evaluation.scoring.selection import Point, choose_point
from evaluation.scoring.summary import SplitContext, seed_outcomes_of, split_averages
from evaluation.scoring.track import Track
from ravel.common.io import canonical_json
from ravel.instance import Instance
from ravel.terms.schema import Generalisation, Partition, split_name

_SCORED: tuple[Partition, ...] = ("val", "test")


@dataclass(frozen=True, slots=True)
class ScoredCell:
    """A cell that has a featurizer, as far as scores depend on it."""

    id: FeaturizerId
    """What is scored."""
    attribute: str
    """Its target; `*` if it serves all."""
    point: Point
    """Where it lies in the grid of its method."""

    def serves(self, attribute: str) -> bool:
        """Tell whether the cell is one of an attribute's."""
        return self.attribute in ("*", attribute)


def cells_of_headers(
    headers: Iterable[Mapping[str, Any]],
    entity_type: str,
    model: str,
    attributes: Sequence[str],
    seeds: Sequence[int],
) -> list[ScoredCell]:
    """Return those of the finished cells, given by their `cell.json`, that have a featurizer, in the order of
    a suite's attributes and seeds."""
    scored = [
        ScoredCell(
            id=FeaturizerId(
                cell=header["cell"],
                method=header["method"],
                entity_type=entity_type,
                model=model,
                site=Site.parse(header["site"]),
                size=header["swapped"],
                seed=header["seed"],
            ),
            attribute=header["attribute"],
            point=Point(
                Site.parse(header["site"]),
                None if header["size"] == "*" else header["size"],
                canonical_json(header["config"]),
            ),
        )
        for header in headers
        if "refused" not in header
    ]
    return sorted(scored, key=lambda cell: (_place(cell.attribute, attributes), _place(cell.id.seed, seeds)))


def _place(value: object, known: Sequence[object]) -> int:
    return known.index(value) if value in known else len(known)


class CellScorer:
    """Chooses among the cells of a grid and scores them.

    A choice holds for each (method, attribute) the ids of the chosen cells, one per seed, in the order in
    which cells were given.
    """

    def __init__(
        self,
        cells: Sequence[ScoredCell],
        instance: Instance,
        track: Track[Any],
        *,
        attributes: Sequence[str],
        generalisations: Sequence[Generalisation],
        outcomes: Callable[[str, str], Sequence[JudgedCase]],
    ) -> None:
        """`outcomes` returns what was judged in a cell, given by its id, on a split; it is asked only for
        splits that have cases."""
        self._cells = {cell.id.cell: cell for cell in cells}
        self._instance = instance
        self._track = track
        self.asked = [a for a in attributes if track.asks_about(instance, a)]
        """Those of the attributes that have cases."""
        self._generalisations = generalisations
        self._outcomes = outcomes
        self._clusters: dict[str, Clusters] = {}

    def choose(self) -> dict[tuple[str, str], list[str]]:
        """Choose site, size and setting per method and attribute by validation scores, and all seeds of that
        point. Raises SuiteError where there is nothing to choose by."""
        candidates: dict[tuple[str, str], dict[Point, list[ScoreRecord]]] = {}
        for cell in self._cells.values():
            for attribute in self._served(cell):
                key = (cell.id.method, attribute)
                candidates.setdefault(key, {}).setdefault(cell.point, [])
        for record in self.validation_scores(intervals=False):
            candidates[record.method, record.attribute][self._cells[record.cell].point].append(record)
        points = {
            key: choose_point(found, self._track, by=self._track.criterion_of(key[0]))
            for key, found in candidates.items()
        }
        return {(method, a): self._at(method, a, point) for (method, a), point in points.items()}

    def validation_scores(self, *, intervals: bool = True) -> list[ScoreRecord]:
        """Return the score records of all cells on validation pairs, with intervals or, for a choice,
        without; no test pair is read."""
        return [
            record
            for cell in self._cells.values()
            for generalisation in self._generalisations
            for record in self._records(cell, generalisation, "val", (), intervals=intervals)
        ]

    def scores(self, choice: Mapping[tuple[str, str], Sequence[str]]) -> list[ScoreRecord]:
        """Return the score records of all cells in the order of `scores.jsonl`: on validation cases and, of
        chosen cells and references, on test cases; where a cell is chosen, by kind of source too."""
        chosen = {(cell, attribute) for (_, attribute), cells in choice.items() for cell in cells}
        tested, floors = {cell for cell, _ in chosen}, self._track.floors
        records = [
            record
            for cell in self._cells.values()
            for generalisation in self._generalisations
            for partition in _SCORED
            if partition == "val" or cell.id.cell in tested or cell.id.method in floors
            for record in self._records(cell, generalisation, partition, chosen)
        ]
        return sorted(records, key=_order)

    def averages(
        self, choice: Mapping[tuple[str, str], Sequence[str]]
    ) -> tuple[list[AverageRecord], list[ComparisonRecord]]:
        """Return the averages of the chosen cells, and the paired comparisons between methods."""
        averages: list[AverageRecord] = []
        comparisons: list[ComparisonRecord] = []
        chosen = {key: [self._cells[cell] for cell in cells] for key, cells in choice.items()}
        for generalisation in self._generalisations:
            for partition in _SCORED:
                split = split_name(generalisation, partition)
                if chosen and self._track.cases(self._instance, split):
                    found = self._averages(chosen, generalisation, partition)
                    averages += found[0]
                    comparisons += found[1]
        return averages, comparisons

    def _averages(
        self,
        chosen: Mapping[tuple[str, str], Sequence[ScoredCell]],
        generalisation: Generalisation,
        partition: Partition,
    ) -> tuple[list[AverageRecord], list[ComparisonRecord]]:
        split = split_name(generalisation, partition)
        context = SplitContext(
            track=self._track,
            entity_type=self._instance.entity_type,
            model=next(iter(self._cells.values())).id.model,
            generalisation=generalisation,
            partition=partition,
            clusters=self._clusters_of(split),
        )
        seed_outcomes = seed_outcomes_of(
            chosen,
            lambda cell: cell.id.seed,
            lambda cell: self._outcomes(cell.id.cell, split),
        )
        return split_averages(seed_outcomes, context)

    def _served(self, cell: ScoredCell) -> list[str]:
        return [attribute for attribute in self.asked if cell.serves(attribute)]

    def _at(self, method: str, attribute: str, point: Point) -> list[str]:
        return [
            name
            for name, cell in self._cells.items()
            if cell.id.method == method and cell.serves(attribute) and cell.point == point
        ]

    def _records(
        self,
        cell: ScoredCell,
        generalisation: Generalisation,
        partition: Partition,
        chosen: Collection[tuple[str, str]],
        *,
        intervals: bool = True,
    ) -> Iterator[ScoreRecord]:
        """Yield the records of one cell on one split, per attribute that it serves; none without cases."""
        split = split_name(generalisation, partition)
        if not self._track.cases(self._instance, split):
            return
        outcomes, clusters = self._outcomes(cell.id.cell, split), self._clusters_of(split)
        for attribute in self._served(cell):
            own = (cell.id.cell, attribute) in chosen
            found = (outcomes, attribute, cell.id, self._track)
            if own and partition == "test":
                yield from score_kinds(
                    *found, generalisation=generalisation, partition=partition, clusters=clusters
                )
            else:
                yield score_outcomes(
                    *found,
                    generalisation=generalisation,
                    partition=partition,
                    chosen=own,
                    intervals=intervals,
                    clusters=clusters,
                )

    def _clusters_of(self, split: str) -> Clusters:
        """Return the clusters of a split's cases, the same object each time."""
        if split not in self._clusters:
            self._clusters[split] = clusters_of(self._track.cases(self._instance, split))
        return self._clusters[split]


def _order(record: ScoreRecord) -> tuple[str, str, str, int, int, str, str, str, str]:
    return (
        record.method,
        record.attribute,
        record.site,
        record.size,
        record.seed,
        record.generalisation,
        record.partition,
        record.cell,
        "" if record.source_kind == "all" else record.source_kind,
    )
