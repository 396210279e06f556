"""`ravel table` and `plot`: what is made of the records of a run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from evaluation.commands._flags import Json, one_of
from evaluation.commands._output import print_json, say
from evaluation.commands._runs import no_run
from evaluation.records import AverageRecord, ScoreRecord, read_averages, read_scores
from evaluation.runs import RunFolder
from evaluation.tables import RENDERERS, Table, attribute_table, main_table, render
from ravel.common.errors import SuiteError

__all__ = ["plot", "table"]

RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="Folder written by ravel run or ravel demo.")]
PartitionName = Annotated[str, typer.Option("--partition", help="test, or val.")]
_PARTITIONS: tuple[Literal["test"], Literal["val"]] = ("test", "val")


def table(
    run_path: RunPath,
    style: Annotated[str, typer.Option("--format", help="markdown, latex or csv.")] = "markdown",
    name: Annotated[
        str, typer.Option("--table", help="main: the average over attributes; attributes: each of them.")
    ] = "main",
    partition: PartitionName = "test",
    as_json: Json = False,
) -> None:
    """Print a table of a run.

    Example: ravel table city-run --format latex > table.tex
    """
    one_of("table format", style, RENDERERS)
    makers = {"main": main_table, "attributes": attribute_table}
    one_of("table", name, makers)
    scores, averages = _records(run_path)
    made: Table = makers[name](scores, averages, partition=one_of("partition", partition, _PARTITIONS))
    if as_json:
        print_json(asdict(made))
        return
    typer.echo(render(made, style), nl=False)


def plot(
    run_path: RunPath,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder; by default the run's own plots/.")
    ] = None,
    partition: PartitionName = "test",
    as_json: Json = False,
) -> None:
    """Draw cause against isolate, a marker per method, as PNG and SVG.

    Example: ravel plot city-run
    """
    from evaluation.plots import plot_cause_isolate

    kept = one_of("partition", partition, _PARTITIONS)
    _, averages = _records(run_path)
    if averages is None:
        raise SuiteError(
            expected=f"{RunFolder(run_path).averages.name} in {run_path}",
            came="none",
            todo="let the run finish first",
        )
    folder = RunFolder(run_path).plots if out is None else out
    wanted = [record for record in averages if record.scope == "macro" and record.partition == kept]
    suffix = "" if kept == "test" else f"_{kept}"
    paths = plot_cause_isolate(wanted, folder / f"cause_isolate{suffix}")
    if as_json:
        print_json([str(path) for path in paths])
        return
    for path in paths:
        say(str(path))


def _records(run_path: Path) -> tuple[list[ScoreRecord], list[AverageRecord] | None]:
    run_folder = RunFolder(run_path)
    if not run_folder.config.is_file():
        raise no_run(run_path, "give the folder of a run")
    if not run_folder.scores.is_file():
        raise SuiteError(
            expected=f"{run_folder.scores.name} in {run_path}",
            came="none, for the run is not finished",
            todo="go on with it: ravel run SUITE.yaml with the same --out",
        )
    scores = read_scores(run_folder.scores)
    return scores, read_averages(run_folder.averages) if run_folder.averages.is_file() else None
