"""`ravel rescore`: old outcomes under another version of the metric."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluation import api
from evaluation.commands.flags import command
from evaluation.commands.printing import Result, say


@command
def rescore(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    metric: Annotated[str, typer.Option("--metric", help="A version, as in `ravel list tracks TRACK`.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder for the records.")],
) -> Result:
    """Sum up the outcomes of a finished run by another metric version; no model is run, chosen points stay.

    Example: ravel rescore city-run --metric v2 --out city-run-v2
    """
    rescored = api.rescore(run, metric, out)

    def text() -> None:
        say((out / "main.md").read_text(encoding="utf-8").rstrip())
        for what in rescored.otherwise:
            say(f"note: {metric} would have chosen another point of {what}; that of the run stays")
        say(f"{len(rescored.scores)} scores are in {out}")

    return Result({**rescored.to_json(), "out": str(out)}, text)
