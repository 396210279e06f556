"""`ravel verify`: one folder or .zip, and what is wrong with it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from evaluation import api
from evaluation.commands.flags import command
from evaluation.commands.printing import Result, print_rows, say

_PROBLEMS = 2


@command
def verify(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="Folder of an instance, a featurizer, a run or a submission, or a .zip of one.",
        ),
    ],
    instance: Annotated[
        Path | None,
        typer.Option("--instance", help="For a submission: the instance whose pairs its outcomes must be."),
    ] = None,
) -> Result:
    """Check hashes, schemas, tensors, outcomes, scores and leaks of a folder; exit with 2 if any is wrong.

    Example: ravel verify city-run
    """
    found = api.verify(path, instance)
    rows = api.leak_rows(found)

    def text() -> None:
        for note in found.notes:
            say(note)
        if rows:
            print_rows(
                list(rows[0]), [["-" if value is None else value for value in row.values()] for row in rows]
            )
        for leak in found.leaks or ():
            if leak.severity == "note":
                say(leak.text)
        say(f"{found.kind} in {found.path}: {'sound' if found.sound else f'{len(found.problems)} problems'}")

    return Result(
        {**asdict(found), "path": str(found.path), "sound": found.sound, "checks": rows},
        text,
        warnings=found.problems,
        exit_code=0 if found.sound else _PROBLEMS,
    )
