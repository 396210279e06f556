"""`ravel keep-best`: rejection sampling for a training of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluation import api
from evaluation.commands.flags import command
from evaluation.commands.printing import Result, keeping, say
from ravel.common.errors import SuiteError

_THIRD = 1 / 3


@command
def keep_best(
    *,
    candidates: Annotated[
        Path,
        typer.Argument(
            metavar="CANDIDATES", help="JSON Lines: per row a prompt, a candidate and numbers in scores."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="File for the rows that are kept.")],
    by: Annotated[
        str, typer.Option("--by", help="The field that candidates for one example share.")
    ] = "prompt",
    weight: Annotated[
        list[str] | None,
        typer.Option(
            "--weight", metavar="SCORE=NUMBER", help="What a score counts, repeatable; by default all 1."
        ),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Least weighted score of what is kept.")
    ] = None,
    supercharged: Annotated[
        bool, typer.Option("--supercharged", "-s", help="Keep a third of the examples, the best ones.")
    ] = False,
) -> Result:
    """Keep the best candidate of each prompt by the weighted sum of its scores, to train on next.

    Of equal candidates the first is kept.

    Example: ravel keep-best drawn.jsonl --weight task=1 --weight faithfulness=2 --out kept.jsonl
    """
    config = api.KeepConfig(
        by=by, weights=_weights(weight), threshold=threshold, share=_THIRD if supercharged else 1.0
    )
    with keeping("Nothing was written."):
        found = api.keep_best(candidates, out, config)

    def text() -> None:
        say(f"{found.n_kept} of {found.n_examples} examples were kept, of {found.n_candidates} candidates.")
        say(f"Mean weighted score: {found.mean_score:.4f} of all, {found.mean_kept:.4f} of what was kept.")
        say(str(out))

    return Result(found.to_json(), text)


def _weights(flags: list[str] | None) -> dict[str, float] | None:
    if not flags:
        return None
    made: dict[str, float] = {}
    for flag in flags:
        name, _, number = flag.rpartition("=")
        try:
            made[name] = float(number)
        except ValueError:
            name = ""
        if not name:
            raise SuiteError(
                expected="--weight as SCORE=NUMBER", came=repr(flag), todo="write for instance task=1"
            )
    return made
