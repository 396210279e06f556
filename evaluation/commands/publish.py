"""`ravel table` and `plot`: what is made of the records of a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from evaluation import api
from evaluation.commands.flags import command
from evaluation.commands.flags.names import choices
from evaluation.commands.printing import Result, say
from ravel.common.errors import one_of
from ravel.terms.schema import Partition

if TYPE_CHECKING:
    from evaluation.report.tables import Table

_TEXT = "text"
_STYLES = (_TEXT, "markdown", "latex", "csv", "html")
_LOOKS = ("full", "compact")
_TABLE_NAMES = (
    *("main", "attributes", "kinds", "balanced", "dependence"),
    *("controls", "necessity", "seeds", "sites", "types", "models"),
)
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="Folder written by ravel run or ravel demo.")]
RunPaths = Annotated[
    list[Path], typer.Argument(metavar="RUN...", help="Folders written by ravel run or ravel demo.")
]
PartitionName = Annotated[
    str, typer.Option("--partition", help="Which pairs count.", **choices("test", "val"))
]
_PARTITIONS: tuple[Literal["test"], Literal["val"]] = ("test", "val")


@command
def table(
    run_paths: RunPaths,
    style: Annotated[
        str | None,
        typer.Option(
            "--format", help="By default text on a terminal, and markdown elsewhere.", **choices(*_STYLES)
        ),
    ] = None,
    name: Annotated[
        str,
        typer.Option(
            "--table",
            help="main: the average over attributes; attributes: each of them; kinds: by source kind; "
            "balanced: class-balanced scores; dependence: isolate where values stay and where they change; "
            "controls: controls against their floors; necessity: cause beside what stays when all else is "
            "swapped; seeds: the spread over fits; sites: what fitting at fewer sites saves and loses; "
            "types: entity types, models: models, each from a run of its own.",
            **choices(*_TABLE_NAMES),
        ),
    ] = "main",
    partition: PartitionName = "test",
    look: Annotated[
        str,
        typer.Option(
            "--style",
            help="LaTeX in full, or compact: the criterion alone; both over both columns of a paper.",
            **choices(*_LOOKS),
        ),
    ] = "full",
    model_label: Annotated[
        list[str] | None,
        typer.Option(
            "--model-label", help="What the model is called; of several runs once for each, in order."
        ),
    ] = None,
) -> Result:
    """Print a table of a run, or of several runs with an entity type or a model each.

    Example: ravel table city-run --format latex > table.tex
    """
    style = one_of("table format", style or (_TEXT if sys.stdout.isatty() else "markdown"), _STYLES)
    one_of("style of a table", look, _LOOKS)
    kept: Partition = one_of("partition", partition, _PARTITIONS)
    made = api.table(run_paths, name, kept, model_label or ())
    run = run_paths[0].resolve().name
    return Result(made.to_json(), lambda: _print(made, style, run, compact=look == "compact"))


def _print(made: Table, style: str, run: str, *, compact: bool) -> None:
    # Tables bring along all that they are made of, which the command line would start slowly with.
    from evaluation.commands.printing.tables import print_table
    from evaluation.report.tables import render, to_compact_latex, to_latex

    if style == _TEXT:
        print_table(made)
    elif style == "latex":
        typer.echo((to_compact_latex if compact else to_latex)(made, run), nl=False)
    else:
        typer.echo(render(made, style), nl=False)


@command
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
    ] = "all",
) -> Result:
    """Draw the figures of a run as PNG, SVG and PDF, each with its caption as text.

    Example: ravel plot city-run --plot sizes
    """
    paths = [str(path) for path in api.plot(run_path, out, None if name == "all" else [name])]
    return Result(paths, lambda: say("\n".join(paths)))
