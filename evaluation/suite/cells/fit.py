"""Runs one cell: fit, keep, judge; it knows its own folder and nothing of other cells, of selection or of
scores."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from das.edits.storage import load_finding
from das.engine.base.counted import counted
from das.engine.base.protocol import Engine
from das.engine.engines.base_engine import batches_of
from das.featurizers.storage import FeaturizerHeader, save_featurizer
from das.finding import Finding
from das.methods.common.base import NotApplicableError, Problem, TrainedMethod
from das.passes import PassCounter
from das.sites import Site
from das.training.together import Training, train_together
from evaluation.config.suite import TrackSpec
from evaluation.records.headers import SUITE_SCHEMA_VERSION, FitCost
from evaluation.suite.cells.context import RunContext
from evaluation.suite.cells.finished import cell_refusal
from evaluation.suite.cells.shared_tensors import SharedTensors
from evaluation.suite.cells.workspace import FolderWorkspace
from evaluation.suite.grid import Cell
from ravel.common.progress import Progress, counting


def groups_of(cells: Sequence[Cell], context: RunContext, most: int) -> list[list[Cell]]:
    """Return the cells in groups to be fitted side by side: trainings at one site, all others alone."""
    groups: list[list[Cell]] = []
    open_at: dict[Site, list[Cell]] = {}
    for cell in cells:
        trains = issubclass(context.methods.get(cell.method), TrainedMethod)
        found = open_at.get(cell.site) if trains else None
        if found is None or len(found) == most:
            found = []
            groups.append(found)
            if trains:
                open_at[cell.site] = found
        found.append(cell)
    return groups


def run_cells(
    cells: Sequence[Cell],
    context: RunContext,
    splits: Sequence[str],
    progress: Progress,
    *,
    keep_refusal: bool = True,
) -> None:
    """Fit the cells and judge them on `splits`, leaving out what is done; `cell.json` is written last.

    Trainings go on side by side: what they ask at one site runs in the same passes of the model, and each
    ends as it would alone. Where a method has no answer the reason is written down and nothing is judged, or,
    without `keep_refusal`, NotApplicableError is raised.
    A cell that was interrupted is fitted again, from its last checkpoint where the method keeps one, and ends
    in the same bytes, for a fit is a function of its problem.
    """
    waiting = {cell: PassCounter() for cell in cells if not context.run.cell(cell.cell_id).finished()}
    for (cell, asked), found in zip(waiting.items(), _fits(waiting, context, progress), strict=True):
        folder = context.run.cell(cell.cell_id)
        cost = _cost(asked)
        if isinstance(found, Finding):
            save_featurizer(found, folder.path, _header(cell, context))
            _judge(cell, context, splits, found, progress)
            folder.finish({**describe_cell(cell, context, found.size), **cost})
        elif keep_refusal:
            folder.finish({**describe_cell(cell, context, 0), **cost, "refused": str(found)})
        else:
            raise found
    for cell in cells:
        judge_cell(cell, context, splits, progress)


def judge_cell(cell: Cell, context: RunContext, splits: Sequence[str], progress: Progress) -> None:
    """Judge a fitted cell on those of `splits` that it was not judged on yet."""
    folder = context.run.cell(cell.cell_id)
    if cell_refusal(cell, context) is not None:
        return
    # What is damaged is judged again: its bytes follow from the featurizer.
    track = context.track
    cases = {split: len(track.cases(context.instance, split)) for split in splits}
    missing = [split for split, n in cases.items() if not folder.judged(split, n, track.outcome)]
    if missing:
        finding, _ = load_finding(
            folder.path,
            target_fingerprint=context.target.fingerprint,
            instance_fingerprint=context.instance.fingerprint,
        )
        _judge(cell, context, missing, finding, progress)


def _fits(
    cells: Mapping[Cell, PassCounter], context: RunContext, progress: Progress
) -> list[Finding | NotApplicableError]:
    """Return what each cell's method finds, or why it has no answer, counting what it asks."""
    engine = context.fitting or context.engine
    fits = [_fitting(cell, context, counted(engine, asked), progress, asked) for cell, asked in cells.items()]
    return train_together(fits, engine)


def _fitting(
    cell: Cell, context: RunContext, engine: Engine, progress: Progress, asked: PassCounter
) -> Training[Finding | NotApplicableError]:
    method_class = context.methods.get(cell.method)
    config = method_class.config_class.from_mapping(json.loads(cell.setting), origin=f"cell {cell.cell_id}")
    method = method_class(config)
    problem = Problem(
        instance=context.instance.without_test(),
        attribute=cell.attribute or context.instance.attributes[0],
        site=cell.site,
        size=cell.size or 0,
        seed=cell.seed,
    )
    shared = SharedTensors(context.run.shared)
    workspace = FolderWorkspace(context.run.cell(cell.cell_id), cell.label(), progress, shared, asked)
    try:
        if isinstance(method, TrainedMethod):
            return (yield from method.training(problem, engine, workspace))
        return method.fit(problem, engine, workspace)
    except NotApplicableError as refusal:
        return refusal


def _cost(asked: PassCounter) -> dict[str, Any]:
    """Return what a header says of what a fit asked; nothing where a part of it was not counted."""
    known = all(one.known for one in (asked.own, *asked.shared.values()))
    return {"cost": FitCost(asked.own, asked.shared).to_json()} if known else {}


def _judge(
    cell: Cell, context: RunContext, splits: Sequence[str], finding: Finding, progress: Progress
) -> None:
    folder = context.run.cell(cell.cell_id)
    for split in splits:
        outcomes = context.judge.judge(
            context.instance,
            split,
            cell.site,
            finding,
            counting(progress, f"judge {cell.label()}", part=True),
        )
        folder.write_outcomes(split, outcomes)


def describe_cell(cell: Cell, context: RunContext, swapped: int) -> dict[str, Any]:
    """Return what `cell.json` says: all that determines the result, how many coordinates are swapped, and
    what bounded the batches, which may change a rounding and is no part of the id."""
    return {
        "suite_schema": SUITE_SCHEMA_VERSION,
        "cell": cell.cell_id,
        **cell.stated(),
        "swapped": swapped,
        "label_tokens": context.judging.label_tokens,
        "tolerance": context.judging.tolerance,
        **TrackSpec(name=context.track.name, config=dict(context.judging.settings)).stated(),
        "model_fingerprint": context.target.fingerprint,
        "instance_fingerprint": context.instance.fingerprint,
        **({} if cell.control is None else {"control": cell.control}),
        "batches": batches_of(context.engine),
    }


def _header(cell: Cell, context: RunContext) -> FeaturizerHeader:
    return FeaturizerHeader(
        method=cell.method,
        attribute=cell.attribute or "*",
        entity_type=context.instance.entity_type,
        site=cell.site,
        seed=cell.seed,
        model=context.target.name,
        target_fingerprint=context.target.fingerprint,
        instance_fingerprint=context.instance.fingerprint,
    )
