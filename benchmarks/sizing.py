"""What one suite takes: with models of three sizes, as `ravel run --plan` works it out, and to be summed up.

    python benchmarks/sizing.py [--docs PAGE]
    python benchmarks/sizing.py --sum-up [--run FOLDER] [--cells N] [--json PATH] [--before PATH]
                                [--docs PAGE]

Of models nothing is measured: the figures follow from their shapes and an assumed rate, which the plan
states. With `--docs` the table is written between the markers `sizing` of that page.

With `--sum-up` a finished run of the preset `bundled-city-all` is made up, in `--run` or for the time being:
answers of an oracle, drawn outcomes, random subspaces, invented training logs. Nothing is fitted. Printed is
what choosing points and `finish` take of one processor, step by step, beside what `--json` wrote `--before`.
The marker is `summing-up`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from cases import Oracle
from durability import HastyDisk, using
from measuring import environment, markdown_table, put_between_markers

from das.engine import make_engine
from das.featurizers.orthonormal import retract
from das.featurizers.storage import FeaturizerHeader, save_featurizer
from das.featurizers.subspace import Subspace
from das.methods.common.base import TrainedMethod
from das.methods.registry import METHODS
from das.models.load import load_target
from evaluation.config.preset import preset_named
from evaluation.config.suite import SuiteConfig
from evaluation.records.run_folder import RunFolder
from evaluation.records.scores import Outcome
from evaluation.report import publish
from evaluation.scoring import summary
from evaluation.scoring.cells import CellScorer
from evaluation.suite import finish as finishing
from evaluation.suite.cells.context import RunContext
from evaluation.suite.cells.fit import describe_cell
from evaluation.suite.control_runs.results import ControlResults
from evaluation.suite.forecast.plan import RunPlan, plan_preset
from evaluation.suite.grid import Cell, plan_cells, resolve
from evaluation.suite.select import select, tested
from evaluation.tracks import track_of
from ravel.building import build_instance
from ravel.common.io import write_json, write_jsonl, write_text
from ravel.common.seeds import numpy_stream
from ravel.facts.tables import read_bundled
from ravel.instance import Instance
from ravel.terms.schema import InterchangePair, Partition, split_name

PRESETS = ("sizing-2b", "sizing-8b", "sizing-70b")
HEADER = (
    *("preset", "cells", "passes of a pair", "a cell"),
    *("whole suite, one worker", "a worker", "GPUs of 80 GiB"),
)
SUMMED = "bundled-city-all"
STEPS: Mapping[str, tuple[Any, str]] = {
    "scores": (CellScorer, "scores"),
    "averages": (CellScorer, "averages"),
    "comparisons": (summary, "comparison_records"),
    "tables": (publish, "publish_tables"),
    "plots": (publish, "publish_plots"),
    "page": (finishing, "write_report"),
}
"""What is clocked while a run is finished, and where it stands."""
EPOCHS = 12


def sizing_table() -> str:
    """Return the table as Markdown."""
    return markdown_table(HEADER, [_row(name, plan_preset(name, Path(name))) for name in PRESETS])


def _row(name: str, plan: RunPlan) -> list[str]:
    cost = plan.estimate
    return [
        f"`{name}`: {preset_named(name).shape.parameters / 1e9:.1f} B weights, bfloat16",
        str(cost.cells),
        f"{cost.passes:,.0f}",
        f"{cost.seconds_per_cell / 60:.1f} min",
        f"{cost.seconds / 3600:.1f} h",
        f"{cost.memory / 2**30:.1f} GiB",
        f"{cost.gpus:g}",
    ]


@dataclass(frozen=True, slots=True)
class MadeUpRun:
    """A run as it stands when all cells are judged."""

    config: SuiteConfig
    """The resolved suite."""
    context: RunContext
    """Its folder and instance."""
    cells: tuple[Cell, ...]
    """Those that are made up."""


def made_up_run(folder: Path, cells: int | None = None) -> MadeUpRun:
    """Write the first cells (by default all) of the preset's grid into a folder, unless they are there."""
    run, preset, target = RunFolder(folder), preset_named(SUMMED), load_target("bundled")
    if not run.instance.is_dir():
        tables = read_bundled(preset.entity_type)
        build_instance(tables, Oracle(tables, target), preset.build_config()).save(run.instance)
    instance = Instance.load(run.instance)
    config = resolve(preset.suite_config(str(run.instance)), instance, target)
    track, engine = track_of(config), make_engine("resume", target)
    judge = track.judge(engine, config.judging())
    context = RunContext(instance, target, run, track, config.judging(), opened=judge)
    found = MadeUpRun(config, context, plan_cells(config, instance, target)[:cells])
    if not run.config.is_file():
        for cell in found.cells:
            _make_up(cell, context)
        _judge(found, found.cells, "val")
        write_text(run.config, config.to_yaml())
    return found


def _make_up(cell: Cell, context: RunContext) -> None:
    """Write all that the fit and the judging of a cell leave in its folder."""
    folder, instance = context.run.cell(cell.cell_id), context.instance
    stream, width = numpy_stream(0, "fit", cell.cell_id), context.target.width(cell.site)
    size = cell.size or width
    header = FeaturizerHeader(
        method=cell.method,
        attribute=cell.attribute or "*",
        entity_type=instance.entity_type,
        site=cell.site,
        seed=cell.seed,
        model=context.target.name,
        target_fingerprint=context.target.fingerprint,
        instance_fingerprint=instance.fingerprint,
    )
    columns = torch.from_numpy(stream.standard_normal((width, size))).float()
    save_featurizer(Subspace(retract(columns)), folder.path, header)
    if issubclass(METHODS.get(cell.method), TrainedMethod):
        write_jsonl(folder.train_log, _log(stream))
    folder.finish(describe_cell(cell, context, size))


def _judge(run: MadeUpRun, cells: Sequence[Cell], partition: Partition) -> None:
    """Write the outcomes of cells on a partition, where there are none."""
    for cell in cells:
        folder = run.context.run.cell(cell.cell_id)
        for split in (split_name(name, partition) for name in run.config.generalisations):
            if not folder.outcomes(split).is_file():
                folder.write_outcomes(split, _outcomes(cell, run.context.instance.pairs(split), split))


def _outcomes(cell: Cell, pairs: Sequence[InterchangePair], split: str) -> list[Outcome]:
    """Draw outcomes that base entities and templates have in common, cause and isolate at two levels."""
    cause, isolate = numpy_stream(0, "level", cell.cell_id).uniform(0.2, 0.95, 2)
    stream = numpy_stream(0, "outcomes", cell.cell_id, split)
    common = {name: stream.normal(0, 0.15) for p in pairs for name in (p.base_entity, p.base_template)}
    outcomes = []
    for pair, lot in zip(pairs, stream.uniform(size=(len(pairs), 2)).tolist(), strict=True):
        moved = common[pair.base_entity] + common[pair.base_template]
        asked = pair.attribute == cell.attribute
        swapped = lot[0] < (cause + moved if asked else (1 - isolate) / 2)
        kept = not swapped and lot[1] < (0.3 if asked else isolate + moved)
        outcomes.append(Outcome.of(pair, said_swapped=bool(swapped), said_unchanged=bool(kept)))
    return outcomes


def _log(stream: np.random.Generator) -> Iterator[dict[str, Any]]:
    for epoch in range(1, EPOCHS + 1):
        loss, share = float(3 / epoch + stream.uniform()), float(stream.uniform())
        row = {"epoch": epoch, "step": 10 * epoch, "loss": loss}
        yield {**row, "phase": "train"}
        accuracies = {"cause_accuracy": share, "isolate_accuracy": 1 - share / 2}
        yield {**row, **accuracies, "phase": "validation", "kept": int(epoch == EPOCHS)}


def sum_up(run: MadeUpRun, *, plots: bool = True) -> dict[str, float]:
    """Choose and finish as `run_suite` does; return the seconds of one processor by step, writes unwaited.
    Without `plots` those that are there stay on the page."""
    context, drawn = run.context, nullcontext() if plots else patch.object(publish, "publish_plots", _undrawn)
    with using(HastyDisk()), drawn, clocks() as seconds:
        began = time.process_time()
        chosen = select(run.cells, context.without_test(), run.config)
        seconds["choice"] = time.process_time() - began
        _judge(run, tested(run.cells, chosen, context.track), "test")
        began = time.process_time()
        finishing.finish(run.cells, chosen, context, run.config, ControlResults())
        whole = seconds["choice"] + time.process_time() - began
    seconds["averages"] -= seconds["comparisons"]
    if not plots:
        del seconds["plots"]
    seconds["records"] = whole - sum(seconds.values())
    return {**seconds, "all": whole}


def _undrawn(*_: Any, **__: Any) -> list[Path]:
    return []


@contextmanager
def clocks() -> Iterator[dict[str, float]]:
    """Within, the seconds of one processor that each step takes are added up."""
    seconds = {"choice": 0.0, **dict.fromkeys(STEPS, 0.0)}
    with ExitStack() as patched:
        for step, (owner, name) in STEPS.items():
            clocked = _clocked(getattr(owner, name), step, seconds)
            patched.enter_context(patch.object(owner, name, clocked))
        yield seconds


def _clocked(function: Callable[..., Any], step: str, seconds: dict[str, float]) -> Callable[..., Any]:
    def clocked(*given: Any, **named: Any) -> Any:
        began = time.process_time()
        try:
            return function(*given, **named)
        finally:
            seconds[step] += time.process_time() - began

    return clocked


def summing_table(found: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> str:
    """Return the seconds as Markdown, beside earlier ones if there are any."""
    header = ["step", *([] if before is None else ["seconds before"]), "seconds"]
    columns = [*([] if before is None else [before["seconds"]]), found["seconds"]]
    rows = [[step, *(f"{column[step]:.2f}" for column in columns)] for step in found["seconds"]]
    return f"{found['cells']} cells, {found['processor']}.\n\n" + markdown_table(header, rows)


def _summed_up(asked: argparse.Namespace) -> str:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, using(HastyDisk()):
        run = made_up_run(Path(folder) / "run" if asked.run is None else asked.run, asked.cells)
        seconds = sum_up(run, plots=not asked.no_plots)
    found = {"cells": len(run.cells), "processor": environment("cpu")["processor"], "seconds": seconds}
    if asked.json is not None:
        write_json(asked.json, found)
    before = None if asked.before is None else json.loads(asked.before.read_text(encoding="utf-8"))
    return summing_table(found, before)


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table, or write it into a page too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--docs", type=Path, help="a page to write the table into")
    parser.add_argument("--sum-up", action="store_true", help="measure what summing up a run takes")
    parser.add_argument("--run", type=Path, help="where the made-up run lies, or is left")
    parser.add_argument("--cells", type=int, help="how many cells of the grid; default all")
    parser.add_argument("--no-plots", action="store_true", help="draw nothing, which takes longest")
    parser.add_argument("--json", type=Path, help="write the seconds to this file")
    parser.add_argument("--before", type=Path, help="what `--json` wrote of earlier code, for a column")
    asked = parser.parse_args(argv)
    text = _summed_up(asked) if asked.sum_up else sizing_table()
    if asked.docs is not None:
        put_between_markers(asked.docs, {"summing-up" if asked.sum_up else "sizing": text})
    print(text)


if __name__ == "__main__":
    main()
