"""`ravel demo`: the main job on bundled data and the bundled model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluation.commands._flags import Json, quiet_transformers
from evaluation.commands._output import keeping, print_json, say, shown_progress
from evaluation.commands.run import print_run, run_json

__all__ = ["demo"]


def demo(
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the run; an unfinished demo there is finished.")
    ] = Path("ravel-demo"),
    quick: Annotated[bool, typer.Option("--quick", help="Fewer attributes and pairs.")] = False,
    as_json: Json = False,
) -> None:
    """Go from facts to a disentanglement table: build an instance, fit five methods, score them.

    Takes a few minutes on two cores, with bundled data and a bundled model.

    Example: ravel demo --out my-demo
    """
    from evaluation.suite.demo import run_demo

    quiet_transformers()
    kept = f"What is finished is kept in {out}; the same command goes on from there."
    with keeping(kept), shown_progress() as progress:
        summary = run_demo(out, quick=quick, progress=progress)
    if as_json:
        print_json(run_json(summary))
        return
    print_run(summary)
    say("")
    say(f"Next: ravel table {out} --format latex, or edit {out / 'config.yaml'} and give it to ravel run.")
