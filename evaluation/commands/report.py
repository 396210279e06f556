"""`ravel report` and `card`: what a run, an instance or a featurizer is shown by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluation.commands._flags import Json
from evaluation.commands._output import print_json, say
from ravel.common.io import write_text

__all__ = ["card", "report"]


def report(
    run_path: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder written by ravel run or ravel demo.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="File; by default report.html in the run's folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write one self-contained HTML page of a run: table, plots, single pairs, configuration.

    Example: ravel report city-run
    """
    from evaluation.report.page import write_report

    path = write_report(run_path, out=out)
    if as_json:
        print_json(str(path))
        return
    say(str(path))


def card(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Folder of an instance, a featurizer or a run.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="File, such as README.md; by default the card is printed.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the data card of an instance or a run, or the model card of a featurizer, in Markdown for a hub.

    Example: ravel card city-instance --out README.md
    """
    from evaluation.report.cards import card_of

    text = card_of(path)
    if out is not None:
        write_text(out, text)
    if as_json:
        print_json({"card": text, "out": None if out is None else str(out)})
    else:
        say(text.rstrip("\n") if out is None else str(out))
