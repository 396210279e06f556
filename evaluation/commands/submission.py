"""`ravel submit` and `ravel score-submission`: a result from one to another, without code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluation import api
from evaluation.commands.flags import InstanceFolder, NamedModel, TargetFlags, command
from evaluation.commands.printing import Result, keeping, say, shown_progress
from evaluation.commands.printing.scores import print_judged

_PROBLEMS = 2


@command
def submit(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder, or a file that ends in .zip.")],
    name: Annotated[str, typer.Option("--name", help="What the submission is called.")],
    author: Annotated[list[str] | None, typer.Option("--author", help="Who made it, repeatable.")] = None,
    description: Annotated[str, typer.Option("--description", help="What was done.")] = "",
    method: Annotated[
        list[str] | None,
        typer.Option("--method", help="A method to submit, repeatable; by default all but the floors."),
    ] = None,
) -> Result:
    """Pack the chosen featurizers of a run, with outcomes and scores, for others to check.

    Example: ravel submit city-run --out mine.zip --name "DAS on cities"
    """
    info = api.SubmissionInfo(name, tuple(author or ()), description)
    submission = api.submit(run, out, info, methods=tuple(method or ()))

    def text() -> None:
        say(f"{len(submission.featurizers)} featurizers of {', '.join(submission.methods)} in {out}")
        for gap in submission.without:
            say(f"without {gap.method} for {gap.attribute}: {gap.reason}")
        say(f"fingerprint {submission.fingerprint}")

    return Result({**submission.to_json(), "out": str(out)}, text)


@command
def score_submission(
    *,
    path: Annotated[
        Path, typer.Argument(metavar="SUBMISSION", help="A folder or .zip as `ravel submit` makes.")
    ],
    instance: InstanceFolder,
    model: NamedModel,
    out: Annotated[
        Path | None, typer.Option("--out", help="A new folder for scores, averages and the verdict.")
    ] = None,
    target: TargetFlags,
) -> Result:
    """Check a submission, judge it with the model, compare with what it claims; exit with 2 if they differ.

    Example: ravel score-submission mine.zip --instance city-instance --model bundled
    """
    opened = target.config(model)
    with keeping("Nothing was written; start the same command again."), shown_progress() as progress:
        judged = api.score_submission(path, instance, opened, out, progress)
    return Result(
        judged.to_json(),
        lambda: print_judged(judged),
        warnings=judged.differences,
        exit_code=0 if judged.sound else _PROBLEMS,
    )
