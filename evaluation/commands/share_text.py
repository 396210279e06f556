"""`ravel share-text`: which share of free texts after an interchange is like the source's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evaluation import api
from evaluation.commands.flags import Model, TargetFlags, command
from evaluation.commands.flags.shared import PartitionName, Seed, Split
from evaluation.commands.printing import Result, as_number, keeping, print_rows, say, shown_progress
from ravel.common.errors import one_of
from ravel.terms.schema import GENERALISATIONS, PARTITIONS

if TYPE_CHECKING:
    from evaluation.validity.free_text.over_run import TextRow, TextShares
    from evaluation.validity.free_text.share import FreeTextScore

_HEADERS = ("method", "target", "seed", "cause", "by labels", "isolate", "by labels", "undecided")


@command
def share_text(
    *,
    path: Annotated[
        Path,
        typer.Argument(metavar="FEATURIZER|RUN", help="Folder of a featurizer, or of a finished run."),
    ],
    instance: Annotated[
        Path | None, typer.Option("--instance", help="Folder written by ravel build; a run has its own.")
    ] = None,
    attribute: Annotated[
        str | None, typer.Option("--attribute", help="Target attribute; by default all that there are.")
    ] = None,
    split: Split = "context",
    partition: PartitionName = "val",
    limit_pairs: Annotated[
        int, typer.Option("--limit-pairs", min=1, help="Most cause pairs, and most isolate pairs.")
    ] = 100,
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="New tokens of a text at most.")] = 24,
    samples: Annotated[
        int, typer.Option("--samples", min=1, help="Texts drawn per prompt, for the models of words.")
    ] = 8,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file for the scores.")] = None,
    allow_foreign: Annotated[
        bool, typer.Option("--allow-foreign", help="Score with another model or instance than its own.")
    ] = False,
    model: Model = None,
    seed: Seed = 0,
    target: TargetFlags,
) -> Result:
    """Score what the model goes on to say freely after an interchange, where answers are phrases.

    Cause is the share of texts on the target's prompts that are like those about the source, isolate the
    share on the others' prompts that are like those about the base; beside both what forced labels say.

    Example: ravel share-text RUN --limit-pairs 50
    """
    config = api.FreeTextConfig(
        generalisation=one_of("split", split, GENERALISATIONS),
        partition=one_of("partition to look at", partition, [p for p in PARTITIONS if p != "train"]),
        limit_pairs=limit_pairs,
        tokens=tokens,
        samples=samples,
        seed=seed,
    )
    asked = api.TextTarget(path, instance, attribute, allow_foreign)
    opened = target.config(model, named_in=path if instance is None else instance)
    with keeping("Nothing was written."), shown_progress() as progress:
        found = api.share_text(asked, opened, config, out, progress)
    return Result(found.to_json(), lambda: _print(found))


def _print(found: TextShares) -> None:
    say(f"Texts on {found.split}; intervals are 95 % over base entities.")
    print_rows(_HEADERS, [_cells(row, row.score) for row in found.rows if row.score is not None])
    for row in found.rows:
        for reason in _reasons(row):
            say(f"{row.method}, {row.attribute}, seed {row.seed}: {reason}")
    for name, agreement in (("cause", found.cause_agreement), ("isolate", found.isolate_agreement)):
        if agreement is not None:
            say(f"Rank correlation of {name} with that by forced labels: {agreement:.3f}")


def _cells(row: TextRow, score: FreeTextScore) -> list[str]:
    others = score.others
    return [
        row.method,
        row.attribute,
        str(row.seed),
        as_number(score.cause, score.cause_interval),
        f"{score.target.said_swapped:.3f}",
        as_number(score.isolate, score.isolate_interval),
        "-" if others is None else f"{others.said_unchanged:.3f}",
        f"{score.target.undecided:.3f}",
    ]


def _reasons(row: TextRow) -> list[str]:
    if row.score is None:
        return [row.reason or "no score"]
    found = (row.score.target, *row.score.each_other)
    return [f"on {', '.join(f.attributes)} not identifiable: {f.reason}" for f in found if f.reason]
