"""`ravel table` and `plot`: what is made of the records of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from evaluation.commands._flags import Json, one_of
from evaluation.commands._output import print_json, say
from evaluation.report.tables import RENDERERS, render
from ravel.facts.schema import Partition

__all__ = ["plot", "table"]

RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="Folder written by ravel run or ravel demo.")]
RunPaths = Annotated[
    list[Path], typer.Argument(metavar="RUN...", help="Folders written by ravel run or ravel demo.")
]
PartitionName = Annotated[str, typer.Option("--partition", help="test, or val.")]
_PARTITIONS: tuple[Literal["test"], Literal["val"]] = ("test", "val")
_ALL = "all"


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
    from evaluation.report.tables.of_runs import table_of_runs

    one_of("table format", style, RENDERERS)
    kept: Partition = one_of("partition", partition, _PARTITIONS)
    made = table_of_runs(run_paths, name, kept)
    if as_json:
        print_json(made.to_json())
        return
    typer.echo(render(made, style), nl=False)


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
    from evaluation.report.publish import draw_run

    paths = draw_run(run_path, out, None if name == _ALL else [name])
    if as_json:
        print_json([str(path) for path in paths])
        return
    for path in paths:
        say(str(path))
