"""`ravel score`: one featurizer on held-out pairs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_args

import typer

from evaluation import api
from evaluation.commands.flags import (
    InstanceFolder,
    Model,
    PartitionName,
    Split,
    TargetFlags,
    command,
)
from evaluation.commands.flags.names import EXPERT, choices
from evaluation.commands.printing import Result, keeping, shown_progress
from evaluation.commands.printing.scores import print_scores
from evaluation.scoring.interchange.metrics import Rounding
from ravel.common.errors import one_of
from ravel.terms.schema import GENERALISATIONS, PARTITIONS

_ROUNDINGS: tuple[Rounding, ...] = get_args(Rounding)


@dataclass(frozen=True, slots=True)
class JudgingFlags:
    """How outcomes are judged and summed up."""

    label_tokens: Annotated[
        int,
        typer.Option(
            "--label-tokens",
            min=1,
            help="How many of an answer's first tokens are compared.",
            rich_help_panel=EXPERT,
        ),
    ] = 3
    tolerance: Annotated[
        bool,
        typer.Option(
            "--tolerance/--no-tolerance",
            help="Whether an answer that is close counts, as for latitudes.",
            rich_help_panel=EXPERT,
        ),
    ] = True
    rounding: Annotated[
        str,
        typer.Option(
            "--rounding",
            help="reference: as the paper's code.",
            rich_help_panel=EXPERT,
            **choices(*_ROUNDINGS),
        ),
    ] = "none"
    seed: Annotated[  # scores drew resamples once, and scripts may still name their seed
        int, typer.Option("--seed", hidden=True, help="Read and not used: no score draws anything.")
    ] = 0
    allow_foreign: Annotated[
        bool,
        typer.Option(
            "--allow-foreign",
            help="Score with another model or instance than it was made with.",
            rich_help_panel=EXPERT,
        ),
    ] = False


@command
def score(
    *,
    featurizer: Annotated[
        Path, typer.Argument(metavar="F", help="Folder written by ravel fit, or a run's cell.")
    ],
    instance: InstanceFolder,
    split: Split,
    partition: PartitionName = "test",
    attribute: Annotated[
        list[str] | None,
        typer.Option("--attribute", help="Target attribute, repeatable; by default the featurizer's own."),
    ] = None,
    model: Model = None,
    judged: JudgingFlags,
    target: TargetFlags,
) -> Result:
    """Score a featurizer on held-out pairs: cause, isolate, disentangle, with intervals.

    Example: ravel score F --instance I --split context
    """
    request = api.ScoreRequest(
        generalisation=one_of("split", split, GENERALISATIONS),
        partition=one_of("partition to score", partition, [p for p in PARTITIONS if p != "train"]),
        attributes=tuple(attribute or ()),
        label_tokens=judged.label_tokens,
        tolerance=judged.tolerance,
        rounding=one_of("rounding", judged.rounding, _ROUNDINGS),
        allow_foreign=judged.allow_foreign,
    )
    opened = target.config(model, named_in=instance)
    with keeping("Nothing was written; start the same command again."), shown_progress() as progress:
        records = api.score(featurizer, instance, opened, request, progress)
    return Result([record.to_json() for record in records], lambda: print_scores(records), by_line=True)
