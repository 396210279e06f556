"""`ravel site` and `ravel check-entry`: results of many on the web, and what may join them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from evaluation import api
from evaluation.commands.flags import command
from evaluation.commands.printing import Result, say

_PROBLEMS = 2


@command
def site(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="SOURCE...", help="Folders of finished runs, and submissions, also as .zip."),
    ],
    out: Annotated[Path, typer.Option("--out", help="The site's folder: new, or of an earlier site.")],
    verdict: Annotated[
        list[Path] | None,
        typer.Option(
            "--verdict", help="A folder that score-submission wrote, repeatable: that entry is verified."
        ),
    ] = None,
    title: Annotated[str, typer.Option("--title", help="What the site is called.")] = "RAVEL-bench results",
) -> Result:
    """Write runs and submissions as a static site: boards, methods, models, and all figures as files.

    Example: ravel site results/*.zip demo-run --out public
    """
    built = api.site(sources, out, tuple(verdict or ()), title)

    def text() -> None:
        for board in built.boards:
            say(f"{board.slug}: {', '.join(entry.about.name for entry in board.entries)}")
        for note in built.notes:
            say(note)
        say(f"open {out / 'index.html'}")

    exit_code = _PROBLEMS if built.problems else 0
    return Result(built.to_json(), text, warnings=built.problems, exit_code=exit_code)


@command
def check_entry(
    path: Annotated[Path, typer.Argument(metavar="ENTRY", help="A folder or .zip as `ravel submit` makes.")],
    beside: Annotated[
        Path | None, typer.Option("--beside", help="The folder that it is to join; by default its own.")
    ] = None,
) -> Result:
    """Say whether a submission may join a folder of kept ones; exit with 2 if not. No model is run.

    Example: ravel check-entry results/mine.zip
    """
    found = api.check_entry(path, beside)

    def text() -> None:
        for note in found.notes:
            say(note)
        say(f"{path}: {'may be added' if found.sound else f'{len(found.problems)} things to mend'}")

    return Result(
        {**asdict(found), "path": str(path), "sound": found.sound},
        text,
        warnings=found.problems,
        exit_code=0 if found.sound else _PROBLEMS,
    )
