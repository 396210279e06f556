"""Runs one cell: fit, keep, judge; it knows its own folder and nothing of other cells, of selection or of
scores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from das.engine.base.protocol import Engine
from das.engine.engines.base_engine import batches_of
from das.featurizers.base import Featurizer
from das.featurizers.storage import FeaturizerHeader, load_featurizer, save_featurizer
from das.methods.common.base import Method, NotApplicableError, Problem, TrainedMethod
from das.methods.registry import METHODS
from das.sites import Site, SiteSpace
from das.training.together import Training, train_together
from evaluation.judging.judge import NaturalAnswers, judge
from evaluation.records.headers import read_cell_header, swapped_in
from evaluation.records.run_folder import FolderWorkspace, RunFolder
from evaluation.records.scores import Outcome
from evaluation.scoring.scores import Subject
from evaluation.suite.grid import SUITE_SCHEMA_VERSION, Cell
from evaluation.suite.shared_tensors import SharedTensors
from ravel.common.progress import Progress
from ravel.common.registry import Registry
from ravel.instance.instance import Instance

__all__ = [
    "Bench",
    "cell_outcomes",
    "cell_refusal",
    "cell_subject",
    "describe_cell",
    "groups_of",
    "judge_cell",
    "run_cells",
]


@dataclass(frozen=True, slots=True)
class Bench:
    """What every cell of a run shares."""

    instance: Instance
    """The whole instance or, while points are being chosen, one with the test splits withheld."""
    target: SiteSpace
    """The target model, or what is known of it where it is open elsewhere."""
    run: RunFolder
    """Where results go."""
    label_tokens: int
    """How many of an answer's first tokens are compared."""
    methods: Registry[type[Method]] = METHODS
    """Where methods are looked up."""
    natural: NaturalAnswers | None = None
    """What the model says by itself, kept for all cells."""
    fitting: Engine | None = None
    """The engine that fits are given, where it is another: one that has vectors in store."""
    tolerance: bool = True
    """Whether an answer that is close counts where the attribute's matcher lets it."""
    opened: Engine | None = None
    """Runs the target model; None where results are only read."""

    @property
    def engine(self) -> Engine:
        """The engine, where the model is open."""
        assert self.opened is not None, "the model is not open here"
        return self.opened

    def without_test(self) -> Bench:
        """Return the same bench with the test splits withheld."""
        return replace(self, instance=self.instance.without_test())


def groups_of(cells: Sequence[Cell], bench: Bench, most: int) -> list[list[Cell]]:
    """Return the cells in groups to be fitted side by side: trainings at one site, all others alone."""
    groups: list[list[Cell]] = []
    open_at: dict[Site, list[Cell]] = {}
    for cell in cells:
        trains = issubclass(bench.methods.get(cell.method), TrainedMethod)
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
    bench: Bench,
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
    waiting = [cell for cell in cells if not bench.run.cell(cell.cell_id).finished()]
    for cell, found in zip(waiting, _fits(waiting, bench, progress), strict=True):
        folder = bench.run.cell(cell.cell_id)
        if isinstance(found, Featurizer):
            save_featurizer(found, folder.path, _header(cell, bench))
            _judge(cell, bench, splits, found, progress)
            folder.finish(describe_cell(cell, bench, found.size))
        elif keep_refusal:
            folder.finish({**describe_cell(cell, bench, 0), "refused": str(found)})
        else:
            raise found
    for cell in cells:
        judge_cell(cell, bench, splits, progress)


def judge_cell(cell: Cell, bench: Bench, splits: Sequence[str], progress: Progress) -> None:
    """Judge a fitted cell on those of `splits` that it was not judged on yet."""
    folder = bench.run.cell(cell.cell_id)
    if cell_refusal(cell, bench) is not None:
        return
    # What is damaged is judged again: its bytes follow from the featurizer.
    missing = [split for split in splits if not folder.judged(split, len(bench.instance.pairs(split)))]
    if missing:
        featurizer, _ = load_featurizer(
            folder.path,
            target_fingerprint=bench.target.fingerprint,
            instance_fingerprint=bench.instance.fingerprint,
        )
        _judge(cell, bench, missing, featurizer, progress)


def cell_refusal(cell: Cell, bench: Bench) -> str | None:
    """Return why a finished cell's method had no answer, or None if it had one."""
    reason = read_cell_header(bench.run.cell(cell.cell_id).header).get("refused")
    return None if reason is None else str(reason)


def cell_outcomes(cell: Cell, bench: Bench, split: str) -> list[Outcome]:
    """Read what a cell was judged to say on a split. Raises SuiteError if pairs are missing."""
    return bench.run.cell(cell.cell_id).read_outcomes(split, expected=len(bench.instance.pairs(split)))


def cell_subject(cell: Cell, bench: Bench) -> Subject:
    """Return how records name a finished cell."""
    return Subject(
        cell=cell.cell_id,
        method=cell.method,
        entity_type=bench.instance.entity_type,
        model=bench.target.name,
        site=cell.site,
        size=swapped_in(bench.run.cell(cell.cell_id).header),
        seed=cell.seed,
    )


def _fits(cells: Sequence[Cell], bench: Bench, progress: Progress) -> list[Featurizer | NotApplicableError]:
    """Return what each cell's method finds, or why it has no answer."""
    engine = bench.fitting or bench.engine
    return train_together([_fitting(cell, bench, engine, progress) for cell in cells], engine)


def _fitting(
    cell: Cell, bench: Bench, engine: Engine, progress: Progress
) -> Training[Featurizer | NotApplicableError]:
    method_class = bench.methods.get(cell.method)
    config = method_class.config_class.from_mapping(json.loads(cell.setting), origin=f"cell {cell.cell_id}")
    method = method_class(config)
    problem = Problem(
        instance=bench.instance.without_test(),
        attribute=cell.attribute or bench.instance.attributes[0],
        site=cell.site,
        size=cell.size or 0,
        seed=cell.seed,
    )
    shared = SharedTensors(bench.run.shared)
    workspace = FolderWorkspace(bench.run.cell(cell.cell_id), cell.label(), progress, shared)
    try:
        if isinstance(method, TrainedMethod):
            return (yield from method.training(problem, engine, workspace))
        return method.fit(problem, engine, workspace)
    except NotApplicableError as refusal:
        return refusal


def _judge(
    cell: Cell, bench: Bench, splits: Sequence[str], featurizer: Featurizer, progress: Progress
) -> None:
    folder = bench.run.cell(cell.cell_id)
    for split in splits:
        outcomes = judge(
            bench.instance,
            split,
            bench.engine,
            cell.site,
            featurizer,
            label_tokens=bench.label_tokens,
            tolerance=bench.tolerance,
            natural=bench.natural,
            progress=lambda done, total: progress(f"judge {cell.label()}", done, total),
        )
        folder.write_outcomes(split, outcomes)


def describe_cell(cell: Cell, bench: Bench, swapped: int) -> dict[str, Any]:
    """Return what `cell.json` says: all that determines the result, how many coordinates are swapped, and
    what bounded the batches, which may change a rounding and is no part of the id."""
    return {
        "suite_schema": SUITE_SCHEMA_VERSION,
        "cell": cell.cell_id,
        "method": cell.method,
        "config": json.loads(cell.setting),
        "attribute": cell.attribute or "*",
        "site": str(cell.site),
        "size": "*" if cell.size is None else cell.size,
        "swapped": swapped,
        "seed": cell.seed,
        "label_tokens": bench.label_tokens,
        "tolerance": bench.tolerance,
        "model_fingerprint": bench.target.fingerprint,
        "instance_fingerprint": bench.instance.fingerprint,
        **({} if cell.control is None else {"control": cell.control}),
        **({} if bench.opened is None else {"batches": batches_of(bench.opened)}),
    }


def _header(cell: Cell, bench: Bench) -> FeaturizerHeader:
    return FeaturizerHeader(
        method=cell.method,
        attribute=cell.attribute or "*",
        entity_type=bench.instance.entity_type,
        site=cell.site,
        seed=cell.seed,
        model=bench.target.name,
        target_fingerprint=bench.target.fingerprint,
        instance_fingerprint=bench.instance.fingerprint,
    )
