"""`ravel demo`: the main job on bundled data and the bundled model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluation import api
from evaluation.commands.flags import command
from evaluation.commands.printing import Result, keeping, say, shown_progress
from evaluation.commands.printing.run_warnings import warnings_of
from evaluation.commands.printing.runs import print_run, run_json
from ravel.common.progress import Note


@command
def demo(
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the run; an unfinished demo there is finished.")
    ] = Path("ravel-demo"),
    quick: Annotated[bool, typer.Option("--quick", help="Fewer attributes and pairs.")] = False,
) -> Result:
    """Go from facts to a disentanglement table: build an instance, fit five methods, score them.

    Takes a minute or two on two cores, with bundled data and a bundled model.

    Example: ravel demo --out my-demo
    """
    kept = f"What is finished is kept in {out}; the same command goes on from there."
    with keeping(kept), shown_progress() as progress:
        # Said before torch is loaded, which takes seconds.
        progress(Note(f"opening the bundled model for the run in {out}"))
        summary = api.demo(out, quick=quick, progress=progress)

    def text() -> None:
        print_run(summary)
        say("")
        say(
            f"Next: ravel table {out} --format latex, or edit {out / 'config.yaml'} and give it to ravel run."
        )
        say(
            "On a real model: ravel model fetch smollm2-135m, then "
            "ravel run --preset smollm2-135m-bundled --out real-run"
        )

    return Result(run_json(summary), text, warnings=warnings_of(summary))
