"""Single flags that several commands have, each with its help, but for those of the model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluation.commands.flags.names import EXPERT, choices
from ravel.terms.schema import GENERALISATIONS

LOG_NAMES = ("tensorboard", "trackio", "wandb")
"""Trackers; a test holds them against those that there are."""

Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any setting by its place, such as methods.0.config.epochs=5 in a suite, epochs=5 of a method, "
        "train_pairs=500 of a build; may be repeated.",
    ),
]
_MODEL = "Hub id, folder, GGUF file, a name of `ravel model fetch`, or 'bundled'."
Model = Annotated[
    str | None, typer.Option("--model", help=f"{_MODEL} By default the model the instance was built for.")
]
NamedModel = Annotated[str, typer.Option("--model", help=_MODEL)]
"""Where no instance says which."""
InstanceFolder = Annotated[Path, typer.Option("--instance", help="Folder written by ravel build.")]
Seed = Annotated[int, typer.Option("--seed", help="Root of every random stream.", rich_help_panel=EXPERT)]
Data = Annotated[
    str,
    typer.Option(
        "--data", help="'bundled', a folder of our layout, a RAVEL release (folder, .tgz) or hij/ravel."
    ),
]
Split = Annotated[str, typer.Option("--split", help="What is held out.", **choices(*GENERALISATIONS))]
PartitionName = Annotated[
    str, typer.Option("--partition", help="Which pairs count.", **choices("val", "test"))
]
Log = Annotated[
    str | None,
    typer.Option(
        "--log", help="Tell training curves and scores to a tracker besides.", **choices(*LOG_NAMES)
    ),
]
