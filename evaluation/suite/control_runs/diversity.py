"""The diversity ratio of a row and of its twin on random weights: measured beside the twin, read for its
checks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from das.diagnostics.diversity import Diversity, diversity_ratio
from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.storage import load_featurizer
from evaluation.records.control_checks import DIVERSITY, EVERY_ATTRIBUTE, ControlCheck, TwinDiversity
from evaluation.scoring.mean import mean
from evaluation.suite.control_runs.controlled import ControlledPoints
from evaluation.suite.grid import Cell
from ravel.common.io import write_jsonl
from ravel.terms.schema import Generalisation, split_name

_JUDGED = "swapped states"


def measure_diversity(controlled: ControlledPoints, twin_engine: Engine, ordinary: Cell, cell: Cell) -> None:
    """Write the ratios of a cell of the grid and its twin, unless they are there. Each is measured on the
    model that it was fitted to, on the test pairs that ask for the target."""
    path = _file(controlled, cell)
    if path.is_file():
        return
    grid = controlled.context
    found = load_featurizer(grid.run.cell(ordinary.cell_id).path)[0]
    twin = load_featurizer(controlled.run.cell(cell.cell_id).path)[0]
    attributes = [key[1] for key, point in controlled.points.items() if point == ordinary]
    rows = []
    for _, generalisation in controlled.views():
        for attribute in attributes:
            split = split_name(generalisation, "test")
            own = _diversity(controlled, grid.engine, found, cell, attribute, split)
            other = _diversity(controlled, twin_engine, twin, cell, attribute, split)
            rows.append(TwinDiversity(attribute, generalisation, own.ratio, other.ratio, own.n))
    write_jsonl(path, (row.to_json() for row in rows))


def _file(controlled: ControlledPoints, cell: Cell) -> Path:
    return controlled.run.cell(cell.cell_id).path / "diversity.jsonl"


def _diversity(
    controlled: ControlledPoints,
    engine: Engine,
    featurizer: Featurizer,
    cell: Cell,
    attribute: str,
    split: str,
) -> Diversity:
    instance, site = controlled.context.instance, cell.site
    pairs = [pair for pair in instance.pairs(split) if pair.attribute == attribute]
    asked = [instance.prompt(key).prompt for pair in pairs for key in (pair.base, pair.source)]
    if not asked:
        return Diversity(None, 0)
    vectors = engine.collect(asked, [site])[site].cpu()
    base, source = vectors[::2], vectors[1::2]
    swapped = featurizer.interchange(base, source)
    return diversity_ratio(swapped, source, [pair.if_swapped.strip() for pair in pairs])


def diversity_checks(controlled: ControlledPoints) -> Iterator[ControlCheck]:
    """Yield the ratios of a control's twins, per attribute and as the mean over the attributes that have
    one, each beside that of the ordinary row; none for a control without twins."""
    found: dict[tuple[str, Generalisation], list[tuple[Cell, TwinDiversity]]] = {}
    for (method, attribute), ordinary in sorted(controlled.points.items()):
        cell = controlled.cell_of(ordinary)
        if controlled.is_twin(cell) and controlled.refusal(cell) is None:
            for row in TwinDiversity.read(_file(controlled, cell)):
                if row.attribute == attribute:
                    found.setdefault((method, row.generalisation), []).append((cell, row))
    for (method, generalisation), rows in found.items():
        for cell, row in rows:
            yield _check(controlled, method, generalisation, row.attribute, [(cell, row)])
        known = [(cell, row) for cell, row in rows if row.ordinary is not None and row.twin is not None]
        yield _check(controlled, method, generalisation, EVERY_ATTRIBUTE, known or rows)


def _check(
    controlled: ControlledPoints,
    method: str,
    generalisation: Generalisation,
    name: str,
    rows: Sequence[tuple[Cell, TwinDiversity]],
) -> ControlCheck:
    """Return the ratios of one attribute, or the mean over several, as a check that has no floor."""
    cells = list(dict.fromkeys(cell for cell, _ in rows))
    return ControlCheck(
        control=controlled.control.name,
        method=method,
        attribute=name,
        generalisation=generalisation,
        judged=_JUDGED,
        measure=DIVERSITY,
        score=mean([row.twin for _, row in rows]),
        score_interval=None,
        floor=None,
        floor_interval=None,
        floor_is="none",
        difference=None,
        difference_interval=None,
        at_floor=None,
        required=False,
        ordinary=mean([row.ordinary for _, row in rows]),
        n=sum(row.n for _, row in rows),
        sites=tuple(dict.fromkeys(str(cell.site) for cell in cells)),
        sizes=tuple(sorted({controlled.size(cell) for cell in cells})),
        seed=controlled.seed,
        cells=tuple(cell.cell_id for cell in cells),
    )
