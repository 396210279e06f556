"""`ravel verify`: one folder or .zip, and what is wrong with it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from evaluation.commands._flags import Json
from evaluation.commands._output import print_json, print_rows, say, warn

__all__ = ["verify"]

_PROBLEMS = 2


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
    as_json: Json = False,
) -> None:
    """Check hashes, schemas, tensors, outcomes, scores and leaks of a folder; exit with 2 if any is wrong.

    Example: ravel verify city-run
    """
    from evaluation.verify.folders import leak_rows, verify_artefact

    found = verify_artefact(path, instance)
    rows = leak_rows(found)
    if as_json:
        print_json({**asdict(found), "path": str(found.path), "sound": found.sound, "checks": rows})
    else:
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
    for problem in found.problems:
        warn(problem)
    if not found.sound:
        raise typer.Exit(_PROBLEMS)
