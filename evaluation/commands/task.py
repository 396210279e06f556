"""`ravel task`: the instance of a versioned task, for those who enter it and those who check them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluation import api
from evaluation.commands.flags import command
from evaluation.commands.printing import Result, keeping, say, shown_progress
from evaluation.commands.printing.instances import instance_json, print_instance
from ravel.instance import instance_warnings


@command
def task(
    name: Annotated[str, typer.Argument(metavar="TASK", help="As in `ravel list tasks`.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder for the instance.")],
    data: Annotated[
        str,
        typer.Option("--data", help="Where its facts lie, as in `ravel build`; by default where it says."),
    ] = "",
) -> Result:
    """Build the instance of a versioned task, and compare it with the hash that the task states.

    Example: ravel task city-lite-v1 --out city-lite
    """
    kept = "The answers so far are kept; start the same command again to go on."
    with keeping(kept), shown_progress() as progress:
        instance = api.task(name, out, progress, data=data)

    def text() -> None:
        print_instance(instance, out)
        say(f"It is that of {name}.")

    return Result(
        {**instance_json(instance, out), "task": name}, text, warnings=instance_warnings(instance.manifest)
    )
