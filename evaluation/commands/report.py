"""`ravel report`, `watch` and `card`: what a run, an instance or a featurizer is shown by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluation import api
from evaluation.commands.flags import command
from evaluation.commands.flags.of_model import ModelLabel
from evaluation.commands.printing import Result, keeping, say, shown_progress
from ravel.common.io import write_text


@command
def report(
    run_path: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder written by ravel run or ravel demo.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="File; by default report.html in the run's folder.")
    ] = None,
    model_label: ModelLabel = None,
) -> Result:
    """Write one self-contained HTML page of a run: table, plots, single pairs, configuration.

    Example: ravel report city-run
    """
    path = str(api.report(run_path, out=out, model_label=model_label))
    return Result(path, lambda: say(path))


@command
def watch(
    run_path: Annotated[Path, typer.Argument(metavar="RUN", help="Folder that ravel run works on.")],
    every: Annotated[int, typer.Option("--every", min=1, help="Seconds between two pages.")] = 10,
) -> Result:
    """Write the page of a run anew while it goes on, from its finished cells; ends with the run.

    The page, report.html in the run's folder, loads itself anew as often. Points are chosen and shown by
    validation pairs alone until the run is finished.

    Example: ravel watch city-run
    """
    with keeping("The run goes on."), shown_progress() as progress:
        path = str(api.watch(run_path, every=every, progress=progress))
    return Result(path, lambda: say(path))


@command
def card(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Folder of an instance, a featurizer or a run.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="File, such as README.md; by default the card is printed.")
    ] = None,
) -> Result:
    """Write the data card of an instance or a run, or the model card of a featurizer, in Markdown for a hub.

    Example: ravel card city-instance --out README.md
    """
    text = api.card(path)
    if out is not None:
        write_text(out, text)
    shown = text.rstrip("\n") if out is None else str(out)
    return Result({"card": text, "out": None if out is None else str(out)}, lambda: say(shown))
