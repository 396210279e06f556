"""Fits and judges one control at the chosen points, with its floors. Resumable as the grid is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

from das.engine import make_engine
from das.engine.base.protocol import Engine
from das.engine.engines.base_engine import BaseEngine, listen
from das.featurizers.base import Featurizer
from das.featurizers.storage import load_featurizer
from das.models.base import TargetModel
from evaluation.config.suite import SuiteConfig
from evaluation.records.headers import swapped_in
from evaluation.records.scores import JudgedCase
from evaluation.scoring.track import Judge
from evaluation.suite.cells.context import RunContext
from evaluation.suite.cells.fit import describe_cell, groups_of, run_cells
from evaluation.suite.cells.stored_vectors import collect_vectors
from evaluation.suite.control_runs.controlled import ControlledPoints
from evaluation.suite.control_runs.diversity import measure_diversity
from evaluation.suite.controls import CONTROLS, ReferenceInputs, View
from evaluation.suite.grid import Cell
from ravel.common.io import write_jsonl
from ravel.common.progress import Counted, Progress, counting
from ravel.common.sizes import parse_bytes
from ravel.terms.schema import split_name


def run_control(
    name: str,
    points: Mapping[tuple[str, str], Cell],
    context: RunContext,
    config: SuiteConfig,
    progress: Progress,
) -> None:
    """Fit and judge one control, and its floors, at `points`.

    Only test pairs are judged, for nothing is chosen here. What is finished is not done again. The cells lie
    in `controls/<control>/cells/` of the run.
    """
    controlled = ControlledPoints(CONTROLS.get(name), points, context, config)
    model = _ControlModel(controlled)
    stage, cells = f"control {name}", controlled.cells()
    progress(Counted(stage, 0, len(cells)))
    if controlled.control.refits:
        _fit(controlled, model, list(cells.values()), progress)
    else:
        _take_over(controlled, cells)
    for done, (ordinary, cell) in enumerate(cells.items()):
        progress(Counted(stage, done, len(cells)))
        if controlled.refusal(cell) is None:
            _judge(controlled, model, ordinary, cell, progress)
            if controlled.is_twin(cell):
                measure_diversity(controlled, model.judge.engine, ordinary, cell)
    progress(Counted(stage, len(cells), len(cells)))


class _ControlModel:
    """The model of a control, which need not be the grid's; it is opened at first need."""

    def __init__(self, controlled: ControlledPoints) -> None:
        self._controlled = controlled

    @cached_property
    def judge(self) -> Judge:
        """What judges with the control's model."""
        grid = self._controlled.context
        target = self._controlled.control.target(grid.engine.target, self._controlled.seed)
        return grid.judge.on(grid.engine if target is grid.engine.target else self._engine_of(target))

    def _engine_of(self, target: TargetModel) -> Engine:
        grid, config = self._controlled.context.engine, self._controlled.config
        memory = None if config.cache_memory is None else parse_bytes(config.cache_memory)
        # Without the cache folder, which belongs to the model of the grid.
        made = make_engine(grid.name, target, batch_tokens=config.batch_tokens, cache_bytes=memory)
        listen(made, grid.on_note if isinstance(grid, BaseEngine) else None)
        return made


def _take_over(controlled: ControlledPoints, cells: Mapping[Cell, Cell]) -> None:
    """Finish cells that have the featurizers of the grid's own: there is nothing to fit."""
    grid = controlled.context
    for ordinary, cell in cells.items():
        folder = controlled.run.cell(cell.cell_id)
        if not folder.finished():
            swapped = swapped_in(grid.run.cell(ordinary.cell_id).header)
            folder.finish(describe_cell(cell, replace(grid, run=controlled.run), swapped))


def _fit(
    controlled: ControlledPoints, model: _ControlModel, cells: Sequence[Cell], progress: Progress
) -> None:
    waiting = [cell for cell in cells if not controlled.run.cell(cell.cell_id).finished()]
    for labelled in (False, True):
        alike = [cell for cell in waiting if controlled.method(cell).needs_labels is labelled]
        if alike:
            _fit_alike(controlled, model, alike, progress)


def _fit_alike(
    controlled: ControlledPoints, model: _ControlModel, cells: Sequence[Cell], progress: Progress
) -> None:
    """Fit cells whose methods are fitted on one instance."""
    grid, control, config = controlled.context, controlled.control, controlled.config
    method = controlled.method(cells[0])
    whole = control.fitted_on(grid.instance, method, controlled.seed, config.label_tokens)
    context = replace(
        grid,
        instance=whole.without_test(),
        target=model.judge.engine.target,
        opened=model.judge,
        fitting=_with_vectors(controlled, model.judge.engine, cells, progress),
        run=controlled.run,
    )
    lost = [cell for cell in cells if cell.attribute and cell.attribute not in whole.attributes]
    for cell in lost:
        reason = f"Under {control.name} no pairs of {cell.attribute} with two answers are left."
        controlled.run.cell(cell.cell_id).finish({**describe_cell(cell, context, 0), "refused": reason})
    kept = [cell for cell in cells if cell not in lost]
    for group in groups_of(kept, context, config.fit_together):
        run_cells(group, context, (), progress)


def _with_vectors(
    controlled: ControlledPoints, engine: Engine, cells: Sequence[Cell], progress: Progress
) -> Engine | None:
    """Return an engine that has the vectors of the true prompts in store, if some fit looks at vectors: the
    control changes what is said to prompts, not the prompts."""
    methods = {cell: controlled.method(cell) for cell in cells}
    looking = [cell for cell, method in methods.items() if method.needs_labels or method.needs_vectors]
    if not looking:
        return None
    sites = list(dict.fromkeys(cell.site for cell in looking))
    grid, report = controlled.context, counting(progress, "activations")
    return collect_vectors(grid.instance.without_test(), engine, sites, grid.run.shared, report)


def _judge(
    controlled: ControlledPoints, model: _ControlModel, ordinary: Cell, cell: Cell, progress: Progress
) -> None:
    """Judge a controlled cell in every view, with its floors; what is there is not judged again."""
    folder = controlled.run.cell(cell.cell_id)
    for view, generalisation in controlled.views():
        split = split_name(generalisation, "test")
        said = partial(_said, controlled, model, cell, view, progress)
        if not folder.outcomes(view.outcomes_of(split)).is_file():
            folder.write_outcomes(
                view.outcomes_of(split), said(split, _featurizer(controlled, ordinary, cell))
            )
        floor_file = controlled.floor_file(cell, view, split)
        if not floor_file.is_file():
            inputs = _reference_inputs(controlled, cell, view, split, said)
            floor = controlled.control.floor(inputs, view)
            rows = [{"draw": k, **one.to_json()} for k, outcomes in enumerate(floor) for one in outcomes]
            write_jsonl(floor_file, rows)


def _featurizer(controlled: ControlledPoints, ordinary: Cell, cell: Cell) -> Featurizer:
    control, grid = controlled.control, controlled.context.run
    folder = controlled.run.cell(cell.cell_id) if control.refits else grid.cell(ordinary.cell_id)
    return control.judged_with(load_featurizer(folder.path)[0])


def _said(
    controlled: ControlledPoints,
    model: _ControlModel,
    cell: Cell,
    view: View,
    progress: Progress,
    split: str,
    featurizer: Featurizer | None,
) -> Sequence[JudgedCase]:
    """Judge the cases of a view under a featurizer, or under none, with the control's model."""
    return model.judge.judge(
        controlled.judged_on(view),
        split,
        cell.site,
        featurizer,
        counting(progress, f"judge {cell.label()}", part=True),
    )


def _reference_inputs(
    controlled: ControlledPoints,
    cell: Cell,
    view: View,
    split: str,
    said: Callable[[str, Featurizer | None], Sequence[Any]],
) -> ReferenceInputs:
    context = controlled.context
    return ReferenceInputs(
        instance=context.instance,
        judged=controlled.judged_on(view),
        split=split,
        site=cell.site,
        width=context.target.width(cell.site),
        size=controlled.size(cell),
        seed=controlled.seed,
        label_tokens=context.judging.label_tokens,
        tolerance=context.judging.tolerance,
        judge=said,
    )
