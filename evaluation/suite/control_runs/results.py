"""What the controls of a run came to: scores held against floors, rows among methods; it runs no model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from evaluation.config.suite import SuiteConfig
from evaluation.records.control_checks import EVERY_ATTRIBUTE, NECESSITY, ControlCheck, is_at_floor
from evaluation.records.scores import AverageRecord, JudgedCase, Refusal, control_row
from evaluation.scoring.averages import check_same_cases, mean_of_seeds
from evaluation.scoring.clusters import Clusters, clusters_of
from evaluation.scoring.interchange.estimates import estimate_kept
from evaluation.scoring.intervals import Estimates, difference
from evaluation.scoring.summary import (
    MethodEstimate,
    SeedOutcomes,
    SplitContext,
    average_records,
    estimate_methods_by,
)
from evaluation.suite.cells.context import RunContext
from evaluation.suite.cells.finished import cell_outcomes
from evaluation.suite.control_runs.controlled import ControlledPoints
from evaluation.suite.control_runs.diversity import diversity_checks
from evaluation.suite.controls import CONTROLS, View
from evaluation.suite.grid import Cell
from ravel.common.errors import SuiteError
from ravel.common.io import read_jsonl
from ravel.terms.schema import Generalisation, split_name


@dataclass(frozen=True, slots=True)
class ControlResults:
    """What the controls of a run came to."""

    checks: tuple[ControlCheck, ...] = ()
    """Each score held against its floor."""
    averages: tuple[AverageRecord, ...] = ()
    """The rows among the methods."""
    refusals: tuple[Refusal, ...] = ()
    """Where a control, or a method under it, had no answer."""


def control_results(
    points: Mapping[str, Mapping[tuple[str, str], Cell]], context: RunContext, config: SuiteConfig
) -> ControlResults:
    """Return what the controls of a resolved suite came to, each at its points, from what `run_control`
    wrote."""
    checks: list[ControlCheck] = []
    averages: list[AverageRecord] = []
    refusals: list[Refusal] = []
    for name, own in points.items():
        controlled = ControlledPoints(CONTROLS.get(name), own, context, config)
        for view, generalisation in controlled.views():
            judged = _Judged(controlled, view, generalisation)
            estimates = judged.estimates()
            checks += judged.checks(estimates)
            averages += judged.averages(estimates)
        checks += diversity_checks(controlled)
        refusals += _refusals(controlled)
    return ControlResults(tuple(checks), tuple(averages), tuple(refusals))


def _refusals(controlled: ControlledPoints) -> Iterator[Refusal]:
    control = controlled.control.name
    for (method, attribute), ordinary in sorted(controlled.points.items()):
        row = control_row(method, control)
        if not controlled.applies(ordinary):
            yield Refusal(row, attribute, f"{control} shuffles answers, and {method} learns from none.")
        elif (said := controlled.refusal(controlled.cell_of(ordinary))) is not None:
            yield Refusal(row, attribute, said)


@dataclass(frozen=True)
class _Judged:
    """One control in one view on one test split."""

    controlled: ControlledPoints
    view: View
    generalisation: Generalisation

    @property
    def split(self) -> str:
        return split_name(self.generalisation, "test")

    @cached_property
    def split_context(self) -> SplitContext:
        context = self.controlled.context
        return SplitContext(
            track=context.track,
            entity_type=context.instance.entity_type,
            model=context.target.name,
            generalisation=self.generalisation,
            partition="test",
            clusters=clusters_of(self.controlled.cases(self.view, self.split)),
        )

    def estimates(self) -> list[MethodEstimate]:
        """Return the scores of each method under the control."""
        return self._estimates(self._read)

    def averages(self, estimates: Sequence[MethodEstimate]) -> list[AverageRecord]:
        """Return the rows among the methods, if this view is the row."""
        rows = [self._row(estimate) for estimate in estimates]
        return average_records(rows, self.split_context) if self.view.is_row else []

    def _row(self, estimate: MethodEstimate) -> MethodEstimate:
        """Return a method's scores under the name of its row, with the measures that all rows have."""
        names = self.split_context.track.names

        def own(found: Estimates) -> Estimates:
            return {name: found[name] for name in names}

        return replace(
            estimate,
            method=control_row(estimate.method, self.controlled.control.name),
            attributes={attribute: own(found) for attribute, found in estimate.attributes.items()},
            macro=replace(estimate.macro, mean=own(estimate.macro.mean)),
        )

    def _estimates(self, read: Callable[[Cell], Sequence[Sequence[JudgedCase]]]) -> list[MethodEstimate]:
        criterion = self.split_context.track.criterion
        return estimate_methods_by(self._of_seeds, self._seed_outcomes(read), criterion)

    def _of_seeds(self, found: SeedOutcomes[Any]) -> Estimates:
        first, *others = by_seed = found.read()
        for other in others:
            check_same_cases(first, other)
        clusters = self.split_context.clusters
        return mean_of_seeds([self._measured(outcomes, found.attribute, clusters) for outcomes in by_seed])

    def _measured(self, outcomes: Sequence[Any], attribute: str, clusters: Clusters) -> Estimates:
        """Return the track's measures of some outcomes, and what else the view measures."""
        found = self.split_context.track.estimate(outcomes, attribute, clusters)
        if NECESSITY in self.view.measures:
            found[NECESSITY] = estimate_kept(outcomes, attribute, clusters)
        return found

    def checks(self, estimates: Sequence[MethodEstimate]) -> Iterator[ControlCheck]:
        """Hold every score against its floor: per attribute, and the mean over them."""
        floors = self._estimates(self._read_floor)
        for estimate, floor in zip(estimates, floors, strict=True):
            ordinary = self._ordinary(estimate.method, estimate.attributes)
            counted = estimate.macro.attributes
            # The same pairs lie behind both, so the same attributes count.
            assert floor.macro.attributes == counted
            for measure in self.view.measures:
                make = partial(self._check, estimate.method, measure)
                for attribute in sorted(estimate.attributes):
                    parts = (estimate.attributes[attribute], floor.attributes[attribute])
                    yield make(attribute, (attribute,), *parts, ordinary[measure].get(attribute))
                mean = _mean([ordinary[measure].get(attribute) for attribute in counted])
                yield make(EVERY_ATTRIBUTE, counted, estimate.macro.mean, floor.macro.mean, mean)

    def _seed_outcomes(
        self, read: Callable[[Cell], Sequence[Sequence[JudgedCase]]]
    ) -> list[SeedOutcomes[JudgedCase]]:
        """Return what `read` reads for the controlled cell of every point that has a featurizer."""
        cells = {key: self.controlled.cell_of(ordinary) for key, ordinary in self.controlled.points.items()}
        return [
            SeedOutcomes(method, attribute, (cell.seed,), partial(read, cell))
            for (method, attribute), cell in cells.items()
            if self.controlled.applies(cell) and self.controlled.refusal(cell) is None
        ]

    def _read(self, cell: Cell) -> list[list[JudgedCase]]:
        expected = len(self.controlled.cases(self.view, self.split))
        folder = self.controlled.run.cell(cell.cell_id)
        kind = self.controlled.context.track.outcome
        return [folder.read_outcomes(self.view.outcomes_of(self.split), expected, kind)]

    def _read_floor(self, cell: Cell) -> list[list[JudgedCase]]:
        """Read the outcomes of a floor, a list per draw."""
        path = self.controlled.floor_file(cell, self.view, self.split)
        draws: dict[int, list[JudgedCase]] = {}
        for number, row in read_jsonl(path):
            told = {name: value for name, value in row.items() if name != "draw"}
            origin = f"line {number} of {path}"
            if type(draw := row.get("draw")) is not int:
                todo = "remove the file and run the suite again"
                raise SuiteError(expected=f"a whole number as 'draw' on {origin}", came=repr(draw), todo=todo)
            outcome = self.controlled.context.track.outcome.from_json(told, origin=origin)
            draws.setdefault(draw, []).append(outcome)
        return list(draws.values())

    def _ordinary(self, method: str, attributes: Iterable[str]) -> dict[str, dict[str, float | None]]:
        """Return the measures of the grid's own cells on the true cases, by measure and attribute."""
        points, context = self.controlled.points, self.controlled.context
        found = {}
        for attribute in attributes:
            outcomes = cell_outcomes(points[method, attribute], context, self.split)
            found[attribute] = self._measured(outcomes, attribute, clusters_of(outcomes))
        return {m: {a: one[m].value for a, one in found.items()} for m in self.view.measures}

    def _check(
        self,
        method: str,
        measure: str,
        name: str,
        attributes: Sequence[str],
        scored: Estimates,
        floored: Estimates,
        ordinary: float | None,
    ) -> ControlCheck:
        score, floor = scored[measure], floored[measure]
        minus = difference({measure: score}, {measure: floor})[measure]
        value, ends = minus.value, minus.interval
        controlled = self.controlled
        points = [controlled.points[method, attribute] for attribute in attributes]
        cells = list(dict.fromkeys(controlled.cell_of(ordinary_cell) for ordinary_cell in points))
        return ControlCheck(
            control=controlled.control.name,
            method=method,
            attribute=name,
            generalisation=self.generalisation,
            judged=self.view.name,
            measure=measure,
            score=score.value,
            score_interval=score.interval,
            floor=floor.value,
            floor_interval=floor.interval,
            floor_is=self.view.floor_is,
            difference=value,
            difference_interval=ends,
            at_floor=is_at_floor(value, ends),
            required=self.generalisation in self.view.required,
            ordinary=ordinary,
            n=score.n or 0,
            sites=tuple(dict.fromkeys(str(cell.site) for cell in cells)),
            sizes=tuple(sorted({controlled.size(cell) for cell in cells})),
            seed=controlled.seed,
            cells=tuple(cell.cell_id for cell in cells),
        )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
