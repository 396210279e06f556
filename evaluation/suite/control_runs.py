"""Runs the controls of a suite beside its grid: fit, judge, floor, check; it chooses nothing and changes no
cell of the grid. Resumable as the grid is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from das.engine import make_engine
from das.engine.base.protocol import Engine
from das.engine.engines.base_engine import ThroughLogits, listen
from das.featurizers.base import Featurizer
from das.featurizers.storage import load_featurizer
from das.methods.common.base import Method
from evaluation.config.suite import SuiteConfig
from evaluation.judging.judge import NaturalAnswers, judge
from evaluation.records.control_checks import EVERY_ATTRIBUTE, ControlCheck, is_at_floor
from evaluation.records.headers import swapped_in
from evaluation.records.run_folder import RunFolder
from evaluation.records.scores import AverageRecord, Outcome, Refusal, control_row
from evaluation.scoring.averages import Macro
from evaluation.scoring.clusters import clusters_of
from evaluation.scoring.intervals import Sampled, difference
from evaluation.scoring.metrics import scores
from evaluation.scoring.summary import Evidence, MethodSample, SplitContext, average_records, sample_methods
from evaluation.suite.cells import Bench, cell_outcomes, cell_refusal, describe_cell, groups_of, run_cells
from evaluation.suite.controls import CONTROLS, Control, Measure, Trial, View
from evaluation.suite.grid import Cell, control_cell
from evaluation.suite.stored_vectors import collect_vectors
from ravel.common.errors import SuiteError
from ravel.common.io import read_jsonl, write_jsonl
from ravel.common.progress import Progress
from ravel.common.sizes import parse_bytes
from ravel.facts.schema import Generalisation, split_name
from ravel.instance.instance import Instance

__all__ = ["Choice", "ControlResults", "control_results", "controlled_points", "run_control"]

Choice = Mapping[tuple[str, str], Sequence[Cell]]
"""The chosen cells by (method, attribute), one per seed."""
_FOLDER = "controls"


@dataclass(frozen=True, slots=True)
class ControlResults:
    """What the controls of a run came to."""

    checks: tuple[ControlCheck, ...] = ()
    """Each score held against its floor."""
    averages: tuple[AverageRecord, ...] = ()
    """The rows among the methods."""
    refusals: tuple[Refusal, ...] = ()
    """Where a control, or a method under it, had no answer."""


def controlled_points(choice: Choice, config: SuiteConfig) -> dict[tuple[str, str], Cell]:
    """Return the cells of the grid that are controlled, by (method, attribute): the first seed of each point
    that was chosen for a controlled method."""
    methods = config.control_methods or ()
    return {key: cells[0] for key, cells in choice.items() if key[0] in methods and cells}


def run_control(
    name: str, points: Mapping[tuple[str, str], Cell], bench: Bench, config: SuiteConfig, progress: Progress
) -> None:
    """Fit and judge one control, and its floors, at `points`.

    Only test pairs are judged, for nothing is chosen here. What is finished is not done again. The cells lie
    in `controls/<control>/cells/` of the run.
    """
    _Controlled(CONTROLS.get(name), points, bench, config).carry_out(progress)


def control_results(
    points: Mapping[tuple[str, str], Cell], bench: Bench, config: SuiteConfig
) -> ControlResults:
    """Return what the controls of a resolved suite came to, from what `run_control` wrote."""
    parts = [_Controlled(CONTROLS.get(name), points, bench, config).results() for name in config.controls]
    return ControlResults(
        tuple(check for part in parts for check in part.checks),
        tuple(average for part in parts for average in part.averages),
        tuple(refusal for part in parts for refusal in part.refusals),
    )


@dataclass
class _Controlled:
    """One control of a run; what is costly is made at its first use."""

    control: Control
    """The control."""
    points: Mapping[tuple[str, str], Cell]
    """The cells of the grid that are controlled, by (method, attribute)."""
    bench: Bench
    """The bench of the grid, test splits open."""
    config: SuiteConfig
    """The resolved suite."""
    _engine: Engine | None = None
    _natural: NaturalAnswers | None = None
    _judged: dict[str, Instance] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """Root of the control's random streams."""
        return self.config.seeds[0]

    @property
    def run(self) -> RunFolder:
        """Where the control's cells lie."""
        return RunFolder(self.bench.run.path / _FOLDER / self.control.name)

    def carry_out(self, progress: Progress) -> None:
        """Do what is missing."""
        stage, cells = f"control {self.control.name}", self._cells()
        progress(stage, 0, len(cells))
        self._fit(cells, progress)
        for done, (ordinary, cell) in enumerate(cells.items()):
            progress(stage, done, len(cells))
            for view, generalisation in self._views():
                self._judge(ordinary, cell, view, generalisation, progress)
        progress(stage, len(cells), len(cells))

    def results(self) -> ControlResults:
        """Return what there is; the model is not needed."""
        checks: list[ControlCheck] = []
        averages: list[AverageRecord] = []
        for view, generalisation in self._views():
            summed = self._summary(view, generalisation)
            checks += summed.checks
            averages += summed.averages
        return ControlResults(tuple(checks), tuple(averages), tuple(self._refusals()))

    def _views(self) -> Iterator[tuple[View, Generalisation]]:
        for view in self.control.views:
            for generalisation in self.config.generalisations:
                if self._judged_on(view).pairs(split_name(generalisation, "test")):
                    yield view, generalisation

    def _cells(self) -> dict[Cell, Cell]:
        """Return the controlled cell of each cell of the grid that the control can say something of."""
        ordinary = dict.fromkeys(self.points.values())
        return {cell: control_cell(cell, self.control.name) for cell in ordinary if self._applies(cell)}

    def _applies(self, cell: Cell) -> bool:
        method = self._method(cell)
        return method.needs_pairs or method.needs_labels or not self.control.needs_answers

    def _method(self, cell: Cell) -> type[Method]:
        return self.bench.methods.get(cell.method)

    def _open(self) -> Engine:
        """Return the engine of the control's model; another model than the grid's is made at first need."""
        if self._engine is None:
            grid = self.bench.engine
            target = self.control.target(grid.target, self.seed)
            self._engine = grid if target is grid.target else self._engine_of(target)
            same = self._engine is grid
            self._natural = self.bench.natural if same else NaturalAnswers(self._engine)
        return self._engine

    def _engine_of(self, target: Any) -> Engine:
        config = self.config
        memory = None if config.cache_memory is None else parse_bytes(config.cache_memory)
        # Without the cache folder, which belongs to the model of the grid.
        grid = self.bench.engine
        made = make_engine(grid.name, target, batch_tokens=config.batch_tokens, cache_bytes=memory)
        listen(made, grid.on_note if isinstance(grid, ThroughLogits) else None)
        return made

    def _judged_on(self, view: View) -> Instance:
        if view.name not in self._judged:
            self._judged[view.name] = self.control.judged_on(
                self.bench.instance, view, self.seed, self.config.label_tokens
            )
        return self._judged[view.name]

    # Fits

    def _fit(self, cells: Mapping[Cell, Cell], progress: Progress) -> None:
        waiting = {o: c for o, c in cells.items() if not self.run.cell(c.cell_id).finished()}
        if not self.control.refits:
            for ordinary, cell in waiting.items():
                swapped = swapped_in(self.bench.run.cell(ordinary.cell_id).header)
                bench = replace(self.bench, run=self.run)
                self.run.cell(cell.cell_id).finish(describe_cell(cell, bench, swapped))
            return
        for labelled in (False, True):
            own = [c for c in waiting.values() if self._method(c).needs_labels is labelled]
            if own:
                self._fit_alike(own, progress)

    def _fit_alike(self, cells: Sequence[Cell], progress: Progress) -> None:
        """Fit cells whose methods are fitted on one instance."""
        method = self._method(cells[0])
        whole = self.control.fitted_on(self.bench.instance, method, self.seed, self.config.label_tokens)
        engine = self._open()
        bench = replace(self.bench, target=engine.target, opened=engine, run=self.run)
        bench = replace(bench, instance=whole.without_test())
        bench = replace(bench, fitting=self._with_vectors(cells, bench, progress), natural=self._natural)
        lost = [cell for cell in cells if cell.attribute and cell.attribute not in whole.attributes]
        for cell in lost:
            reason = f"Under {self.control.name} no pairs of {cell.attribute} with two answers are left."
            self.run.cell(cell.cell_id).finish({**describe_cell(cell, bench, 0), "refused": reason})
        kept = [cell for cell in cells if cell not in lost]
        for group in groups_of(kept, bench, self.config.fit_together):
            run_cells(group, bench, (), progress)

    def _with_vectors(self, cells: Sequence[Cell], bench: Bench, progress: Progress) -> Engine | None:
        """Return an engine that has the vectors of the true prompts in store, if some fit looks at vectors:
        the control changes what is said to prompts, not the prompts."""
        looking = [c for c in cells if self._method(c).needs_labels or self._method(c).needs_vectors]
        if not looking:
            return None
        sites = list(dict.fromkeys(cell.site for cell in looking))
        withheld, report = self.bench.instance.without_test(), partial(progress, "activations")
        return collect_vectors(withheld, bench.engine, sites, self.bench.run.shared, report)

    # Judgements

    def _judge(
        self, ordinary: Cell, cell: Cell, view: View, generalisation: Generalisation, progress: Progress
    ) -> None:
        split, folder = split_name(generalisation, "test"), self.run.cell(cell.cell_id)
        if self._refused(cell) is not None:
            return
        if not folder.outcomes(_file(split, view)).is_file():
            found = self._said(split, view, cell, self._featurizer(ordinary, cell), progress)
            folder.write_outcomes(_file(split, view), found)
        if not self._floor_file(cell, view, split).is_file():
            floor = self.control.floor(self._trial(cell, view, split, progress), view)
            rows = [{"draw": k, **one.to_json()} for k, outcomes in enumerate(floor) for one in outcomes]
            write_jsonl(self._floor_file(cell, view, split), rows)

    def _featurizer(self, ordinary: Cell, cell: Cell) -> Featurizer:
        run, own = (self.run, cell) if self.control.refits else (self.bench.run, ordinary)
        return load_featurizer(run.cell(own.cell_id).path)[0]

    def _said(
        self, split: str, view: View, cell: Cell, featurizer: Featurizer | None, progress: Progress
    ) -> list[Outcome]:
        engine = self._open()
        return judge(
            self._judged_on(view),
            split,
            engine,
            cell.site,
            featurizer,
            label_tokens=self.bench.label_tokens,
            tolerance=self.bench.tolerance,
            natural=self._natural,
            progress=lambda done, total: progress(f"judge {cell.label()}", done, total),
        )

    def _trial(self, cell: Cell, view: View, split: str, progress: Progress) -> Trial:
        return Trial(
            instance=self.bench.instance,
            judged=self._judged_on(view),
            split=split,
            site=cell.site,
            width=self.bench.target.width(cell.site),
            size=self._size(cell),
            seed=self.seed,
            label_tokens=self.bench.label_tokens,
            tolerance=self.bench.tolerance,
            judge=lambda split, featurizer: self._said(split, view, cell, featurizer, progress),
        )

    def _size(self, cell: Cell) -> int:
        return swapped_in(self.run.cell(cell.cell_id).header)

    def _floor_file(self, cell: Cell, view: View, split: str) -> Path:
        """Return where a floor lies: cells with the same floor share it."""
        at = f".{cell.site}.{self._size(cell)}" if view.floor_by_size else ""
        return self.run.path / "floors" / f"{_file(split, view)}{at}.jsonl"

    def _refused(self, cell: Cell) -> str | None:
        return cell_refusal(cell, replace(self.bench, run=self.run))

    def _refusals(self) -> list[Refusal]:
        found = []
        for (method, attribute), ordinary in sorted(self.points.items()):
            row, cell = control_row(method, self.control.name), control_cell(ordinary, self.control.name)
            if not self._applies(ordinary):
                reason = f"{self.control.name} shuffles answers, and {method} learns from none."
                found.append(Refusal(row, attribute, reason))
            elif (said := self._refused(cell)) is not None:
                found.append(Refusal(row, attribute, said))
        return found

    # Sums

    def _summary(self, view: View, generalisation: Generalisation) -> ControlResults:
        split = split_name(generalisation, "test")
        clusters = clusters_of(self._judged_on(view).pairs(split))
        samples = sample_methods(self._evidence(view, split), clusters)
        floors = sample_methods(self._evidence(view, split, floors=True), clusters)
        checks = [
            check
            for sample, floor in zip(samples, floors, strict=True)
            for check in self._checks(sample, floor, view, generalisation)
        ]
        context = SplitContext(
            entity_type=self.bench.instance.entity_type,
            model=self.bench.target.name,
            generalisation=generalisation,
            partition="test",
            clusters=clusters,
        )
        rows = [replace(s, method=control_row(s.method, self.control.name)) for s in samples]
        averages = average_records(rows, context) if view.is_row else []
        return ControlResults(tuple(checks), tuple(averages))

    def _evidence(self, view: View, split: str, *, floors: bool = False) -> list[Evidence]:
        found = []
        for (method, attribute), ordinary in self.points.items():
            cell = control_cell(ordinary, self.control.name)
            if self._applies(ordinary) and self._refused(cell) is None:
                read = partial(self._read_floor if floors else self._read, cell, view, split)
                found.append(Evidence(method, attribute, (cell.seed,), read))
        return found

    def _read(self, cell: Cell, view: View, split: str) -> list[list[Outcome]]:
        expected = len(self._judged_on(view).pairs(split))
        return [self.run.cell(cell.cell_id).read_outcomes(_file(split, view), expected)]

    def _read_floor(self, cell: Cell, view: View, split: str) -> list[list[Outcome]]:
        path = self._floor_file(cell, view, split)
        draws: dict[int, list[Outcome]] = {}
        for number, row in read_jsonl(path):
            told = {name: value for name, value in row.items() if name != "draw"}
            origin = f"line {number} of {path}"
            if type(draw := row.get("draw")) is not int:
                todo = "remove the file and run the suite again"
                raise SuiteError(expected=f"a whole number as 'draw' on {origin}", came=repr(draw), todo=todo)
            draws.setdefault(draw, []).append(Outcome.from_json(told, origin=origin))
        return list(draws.values())

    def _checks(
        self, sample: MethodSample, floor: MethodSample, view: View, generalisation: Generalisation
    ) -> Iterator[ControlCheck]:
        ordinary = self._ordinary(sample.method, sample.attributes, generalisation)
        for measure in view.measures:
            make = partial(self._check, sample.method, view, generalisation, measure)
            for attribute in sorted(sample.attributes):
                parts = (sample.attributes[attribute], floor.attributes[attribute])
                yield make(attribute, (attribute,), *parts, ordinary[measure].get(attribute))
            counted = sample.macro.attributes
            yield make(
                EVERY_ATTRIBUTE,
                counted,
                sample.macro.mean,
                _over(floor.macro, counted),
                _mean([ordinary[measure].get(attribute) for attribute in counted]),
            )

    def _check(
        self,
        method: str,
        view: View,
        generalisation: Generalisation,
        measure: Measure,
        name: str,
        attributes: Sequence[str],
        score: Sampled,
        floor: Sampled,
        ordinary: float | None,
    ) -> ControlCheck:
        minus = difference(score, floor)
        value: float | None = getattr(minus.point, measure)
        ends = getattr(minus.intervals(), measure)
        ordinary_cells = [self.points[method, attribute] for attribute in attributes]
        cells = list(dict.fromkeys(control_cell(cell, self.control.name) for cell in ordinary_cells))
        return ControlCheck(
            control=self.control.name,
            method=method,
            attribute=name,
            generalisation=generalisation,
            judged=view.name,
            measure=measure,
            score=getattr(score.point, measure),
            score_interval=getattr(score.intervals(), measure),
            floor=getattr(floor.point, measure),
            floor_interval=getattr(floor.intervals(), measure),
            floor_is=view.floor_is,
            difference=value,
            difference_interval=ends,
            at_floor=is_at_floor(value, ends),
            required=generalisation in view.required,
            ordinary=ordinary,
            n=getattr(score.point, f"n_{measure}"),
            sites=tuple(dict.fromkeys(str(cell.site) for cell in cells)),
            sizes=tuple(sorted({self._size(cell) for cell in cells})),
            seed=self.seed,
            cells=tuple(cell.cell_id for cell in cells),
        )

    def _ordinary(
        self, method: str, attributes: Iterable[str], generalisation: Generalisation
    ) -> dict[Measure, dict[str, float | None]]:
        """Return the scores of the grid's own cells on the true pairs."""
        split = split_name(generalisation, "test")
        found = {
            attribute: scores(cell_outcomes(self.points[method, attribute], self.bench, split), attribute)
            for attribute in attributes
        }
        return {
            "cause": {attribute: own.cause for attribute, own in found.items()},
            "isolate": {attribute: own.isolate for attribute, own in found.items()},
        }


def _file(split: str, view: View) -> str:
    return f"{split}.{view.name.replace(' ', '_')}"


def _over(macro: Macro, attributes: Sequence[str]) -> Sampled:
    # The same pairs lie behind both, so the same attributes count.
    assert macro.attributes == tuple(attributes)
    return macro.mean


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
