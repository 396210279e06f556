"""`ravel submit` and `ravel score-submission`: a result from one to another, without code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evaluation.commands._flags import (
    AllowPickle,
    BatchTokens,
    CacheFolder,
    CacheMemory,
    Device,
    Dtype,
    EngineName,
    InstanceFolder,
    Json,
    TrustRemoteCode,
    target_config,
)
from evaluation.commands._output import keeping, print_json, print_rows, say, shown_progress, warn

if TYPE_CHECKING:
    from evaluation.exchange.submission import JudgedSubmission

__all__ = ["score_submission", "submit"]

_PROBLEMS = 2


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
    as_json: Json = False,
) -> None:
    """Pack the chosen featurizers of a run, with outcomes and scores, for others to check.

    Example: ravel submit city-run --out mine.zip --name "DAS on cities"
    """
    from evaluation.exchange.submission import About, pack_run

    about = About(name, tuple(author or ()), description)
    submission = pack_run(run, out, about, methods=tuple(method or ()))
    if as_json:
        print_json({**submission.to_json(), "out": str(out)})
        return
    say(f"{len(submission.featurizers)} featurizers of {', '.join(submission.methods)} in {out}")
    for gap in submission.without:
        say(f"without {gap.method} for {gap.attribute}: {gap.reason}")
    say(f"fingerprint {submission.fingerprint}")


def score_submission(
    path: Annotated[
        Path, typer.Argument(metavar="SUBMISSION", help="A folder or .zip as `ravel submit` makes.")
    ],
    instance: InstanceFolder,
    model: Annotated[str, typer.Option("--model", help="Hub id, folder, or 'bundled'.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="A new folder for scores, averages and the verdict.")
    ] = None,
    dtype: Dtype = "float32",
    device: Device = "cpu",
    engine: EngineName = "resume",
    batch_tokens: BatchTokens = 16_384,
    cache_memory: CacheMemory = None,
    cache_folder: CacheFolder = None,
    trust_remote_code: TrustRemoteCode = False,
    allow_pickle: AllowPickle = False,
    as_json: Json = False,
) -> None:
    """Check a submission, judge it with the model, compare with what it claims; exit with 2 if they differ.

    Example: ravel score-submission mine.zip --instance city-instance --model bundled
    """
    from evaluation.exchange.submission import score_submission as judged_submission

    target = target_config(
        model,
        dtype=dtype,
        device=device,
        engine=engine,
        batch_tokens=batch_tokens,
        cache_memory=cache_memory,
        cache_folder=cache_folder,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
    )
    with keeping("Nothing was written; start the same command again."), shown_progress() as progress:
        judged = judged_submission(path, instance, target, out, progress)
    if as_json:
        print_json(judged.to_json())
    else:
        _print(judged)
    for difference in judged.differences:
        warn(difference)
    if not judged.sound:
        raise typer.Exit(_PROBLEMS)


def _print(judged: JudgedSubmission) -> None:
    for note in judged.notes:
        say(note)
    rows = [
        [
            r.method,
            ", ".join(r.attributes),
            r.generalisation,
            *map(_shown, (r.cause, r.isolate, r.disentangle)),
        ]
        for r in judged.averages
        if r.source_kind == "all"
    ]
    print_rows(["method", "attributes", "test split", "cause", "isolate", "disentangle"], rows)
    if not judged.claimed:
        say("no score is claimed")
    elif judged.sound:
        say(f"all {judged.claimed} claimed scores are what the model gives")
    else:
        say(f"{len(judged.differences)} differences from what is claimed")


def _shown(value: float | None) -> str:
    return "no pairs" if value is None else f"{value:.3f}"
