"""`ravel share`: which share of a corpus is like another corpus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evaluation import api
from evaluation.commands.flags import command
from evaluation.commands.flags.shared import Seed
from evaluation.commands.printing import Result, keeping, print_rows, say, shown_progress

if TYPE_CHECKING:
    from evaluation.report.share import ShareResult

_CORPUS = "A sentence per line (.txt, an empty line ends a document) or per row (.jsonl, .parquet)."


@command
def share(
    reference: Annotated[Path, typer.Argument(metavar="REFERENCE", help=f"The one kind. {_CORPUS}")],
    other: Annotated[Path, typer.Argument(metavar="OTHER", help="The other kind.")],
    mixed: Annotated[
        Path | None, typer.Argument(metavar="[MIXED]", help="Sentences of both; not needed with --validate.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for share.json and the figure.")] = None,
    validate: Annotated[
        bool, typer.Option("--validate", help="Recover known shares of 0 to 25 % from held-out sentences.")
    ] = False,
    words: Annotated[
        Path | None, typer.Option("--words", help="A file of words, one a line, that alone count.")
    ] = None,
    min_reference: Annotated[
        int, typer.Option("--min-reference", min=1, help="Sentences of REFERENCE that a word must be in.")
    ] = 5,
    min_other: Annotated[
        int, typer.Option("--min-other", min=1, help="Sentences of OTHER that a word must be in.")
    ] = 3,
    resamples: Annotated[
        int, typer.Option("--resamples", min=1, help="Times that sentences and documents are drawn again.")
    ] = 1000,
    mixtures: Annotated[
        int, typer.Option("--mixtures", min=2, help="Held-out mixtures of each known share.")
    ] = 40,
    seed: Seed = 0,
) -> Result:
    """Estimate which share of the sentences of MIXED is like OTHER rather than like REFERENCE.

    Example: ravel share human.txt generated.txt submissions.txt --out share
    """
    config = api.ShareConfig(
        min_reference=min_reference,
        min_other=min_other,
        resamples=resamples,
        mixtures=mixtures,
        seed=seed,
    )
    request = api.ShareRequest(reference, other, mixed, words, validate, config)
    with keeping("Nothing was written."), shown_progress() as progress:
        result = api.share(request, out, progress)
    return Result(result.to_json(), lambda: _print(result))


def _print(result: ShareResult) -> None:
    sizes = f"{result.n_reference} and {result.n_other} sentences"
    say(f"{result.n_words} words tell the kinds apart, learnt from {sizes}.")
    found = result.estimate
    if found is not None and found.share is None:
        say(f"No share is identifiable: {result.reason}.")
    elif found is not None:
        say(f"Share of the other kind: {found.share:.4f}, of {found.n_sentences} sentences.")
        intervals = (("sentences", found.by_sentence), ("documents", found.by_document))
        for name, interval in (*intervals, ("likelihood", found.likelihood)):
            if interval is not None:
                say(f"  95 % by {name}: {interval[0]:.4f} to {interval[1]:.4f}")
        say(f"  bias of held-out mixtures there: {result.bias:+.4f}, which no interval covers")
    rows = [
        (f"{one.true:.3f}", f"{one.mean:.4f}", f"{one.bias:+.4f}", f"{one.covered:.0%}")
        for one in result.recovered
    ]
    print_rows(("true share", "recovered", "bias", "covered"), rows)
    for path in result.files:
        say(str(path))
