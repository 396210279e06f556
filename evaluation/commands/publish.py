"""`ravel table` and `plot`: what is made of the records of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from evaluation.commands._flags import Json, one_of
from evaluation.commands._output import print_json, say
from evaluation.commands._runs import no_run
from evaluation.control_records import CONTROL_CHECKS, read_control_checks
from evaluation.derived import read_derived
from evaluation.failures import read_failures
from evaluation.records import (
    AverageRecord,
    ComparisonRecord,
    Refusal,
    ScoreRecord,
    read_averages,
    read_comparisons,
    read_refusals,
    read_scores,
)
from evaluation.runs import RunFolder
from evaluation.tables import (
    RENDERERS,
    Table,
    attribute_table,
    balanced_table,
    control_table,
    dependence_table,
    kind_table,
    main_table,
    render,
    type_table,
    with_failures,
)
from ravel.common.errors import SuiteError
from ravel.schema import Partition

__all__ = ["plot", "table"]

RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="Folder written by ravel run or ravel demo.")]
RunPaths = Annotated[
    list[Path], typer.Argument(metavar="RUN...", help="Folders written by ravel run or ravel demo.")
]
PartitionName = Annotated[str, typer.Option("--partition", help="test, or val.")]
_PARTITIONS: tuple[Literal["test"], Literal["val"]] = ("test", "val")
_ALL = "all"


@dataclass(frozen=True, slots=True)
class _Records:
    """What is written down of a run."""

    run: RunFolder
    """Where it lies."""
    scores: list[ScoreRecord]
    """All of `scores.jsonl`."""
    averages: list[AverageRecord] | None
    """All of `averages.jsonl`; None if there is none."""
    comparisons: list[ComparisonRecord]
    """All of `comparisons.jsonl`, if there is one."""
    refusals: list[Refusal]
    """All of `refusals.jsonl`, if there is one."""


def table(
    run_paths: RunPaths,
    style: Annotated[str, typer.Option("--format", help="markdown, latex, csv or html.")] = "markdown",
    name: Annotated[
        str,
        typer.Option(
            "--table",
            help="main: the average over attributes; attributes: each of them; kinds: by source kind; "
            "balanced: class-balanced scores; dependence: isolate where values stay and where they change; "
            "controls: controls against their floors; types: entity types, each from a run of its own.",
        ),
    ] = "main",
    partition: PartitionName = "test",
    as_json: Json = False,
) -> None:
    """Print a table of a run, or of several runs with an entity type each.

    Example: ravel table city-run --format latex > table.tex
    """
    one_of("table format", style, RENDERERS)
    makers: dict[str, Callable[[Sequence[_Records], Partition], Table]] = {
        "main": _main,
        "attributes": _attributes,
        "kinds": _kinds,
        "balanced": _balanced,
        "dependence": _dependence,
        "controls": _controls,
        "types": _types,
    }
    one_of("table", name, makers)
    kept: Partition = one_of("partition", partition, _PARTITIONS)
    if name != "types" and len(run_paths) > 1:
        raise SuiteError(
            expected=f"one run for the table {name}",
            came=f"{len(run_paths)}: {', '.join(map(str, run_paths))}",
            todo="give one, or compare runs of several entity types with --table types",
        )
    made = makers[name]([_records(path) for path in run_paths], kept)
    made = with_failures(made, [failure for path in run_paths for failure in read_failures(path)])
    if as_json:
        print_json(asdict(made))
        return
    typer.echo(render(made, style), nl=False)


def _main(runs: Sequence[_Records], partition: Partition) -> Table:
    (run,) = runs
    return main_table(
        run.scores,
        run.averages,
        partition=partition,
        comparisons=run.comparisons,
        refusals=run.refusals,
    )


def _attributes(runs: Sequence[_Records], partition: Partition) -> Table:
    (run,) = runs
    return attribute_table(run.scores, run.averages, partition=partition, refusals=run.refusals)


def _kinds(runs: Sequence[_Records], partition: Partition) -> Table:
    (run,) = runs
    return kind_table(run.scores, run.averages, partition=partition, refusals=run.refusals)


def _balanced(runs: Sequence[_Records], partition: Partition) -> Table:
    (run,) = runs
    _only_test("balanced", partition)
    balanced = read_derived(run.run).balanced
    return balanced_table(run.scores, run.averages, balanced, refusals=run.refusals)


def _dependence(runs: Sequence[_Records], partition: Partition) -> Table:
    (run,) = runs
    _only_test("dependence", partition)
    return dependence_table(run.scores, read_derived(run.run).breakdowns)


def _controls(runs: Sequence[_Records], partition: Partition) -> Table:
    (run,) = runs
    _only_test("controls", partition)
    return control_table(read_control_checks(run.run.path / CONTROL_CHECKS))


def _only_test(name: str, partition: Partition) -> None:
    if partition != "test":
        raise SuiteError(
            expected=f"--partition test for the table {name}",
            came=partition,
            todo="leave --partition out: it is made of the test pairs of chosen points",
        )


def _types(runs: Sequence[_Records], partition: Partition) -> Table:
    types = [sorted({record.entity_type for record in run.scores}) for run in runs]
    double = sorted({name for own in types for name in own if sum(name in other for other in types) > 1})
    if double:
        raise SuiteError(
            expected="one run per entity type",
            came=f"several runs of {', '.join(double)}",
            todo="leave all but one of them out",
        )
    known = [run.averages for run in runs if run.averages is not None]
    return type_table(
        [record for run in runs for record in run.scores],
        [record for averages in known for record in averages] if len(known) == len(runs) else None,
        partition=partition,
        refusals={name: run.refusals for own, run in zip(types, runs, strict=True) for name in own},
    )


def plot(
    run_path: RunPath,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder; by default the run's own plots/.")
    ] = None,
    name: Annotated[
        str,
        typer.Option(
            "--plot",
            help="methods: cause against isolate of the chosen points; sizes, layers: curves on validation "
            "pairs; entanglement: what else changed; angles: overlap of what is swapped; training; or all.",
        ),
    ] = _ALL,
    as_json: Json = False,
) -> None:
    """Draw the figures of a run as PNG and SVG.

    Example: ravel plot city-run --plot sizes
    """
    from evaluation.plots import PLOTS
    from evaluation.publication import publish_plots

    one_of("plot", name, [*PLOTS, _ALL])
    _check_scored(run_path)
    folder = RunFolder(run_path).plots if out is None else out
    paths = publish_plots(RunFolder(run_path), folder, None if name == _ALL else [name])
    if not paths:
        raise SuiteError(
            expected=f"records to draw {name} from in {run_path}",
            came="none: layers need several of them, angles fitted parts, training a method that trains",
            todo="choose another --plot, or run a suite that has them",
        )
    if as_json:
        print_json([str(path) for path in paths])
        return
    for path in paths:
        say(str(path))


def _check_scored(run_path: Path) -> None:
    run = RunFolder(run_path)
    if not run.config.is_file():
        raise no_run(run_path, "give the folder of a run")
    if not run.scores.is_file():
        raise SuiteError(
            expected=f"{run.scores.name} in {run_path}",
            came="none, for the run is not finished",
            todo="go on with it: ravel run SUITE.yaml with the same --out",
        )


def _records(run_path: Path) -> _Records:
    _check_scored(run_path)
    run = RunFolder(run_path)
    return _Records(
        run=run,
        scores=read_scores(run.scores),
        averages=read_averages(run.averages) if run.averages.is_file() else None,
        comparisons=read_comparisons(run.comparisons) if run.comparisons.is_file() else [],
        refusals=read_refusals(run.refusals) if run.refusals.is_file() else [],
    )
