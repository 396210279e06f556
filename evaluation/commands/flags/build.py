"""Settings of a build as flags."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from evaluation import api
from evaluation.commands.flags.names import EXPERT, MODEL, choices, given
from evaluation.commands.flags.shared import Assignments
from evaluation.config.assignments import assigned

_OF_NO_BUILD = ("config", "assignments")


@dataclass(frozen=True, slots=True)
class BuildFlags:
    """Settings of a build, as a user gives them."""

    config: Annotated[
        Path | None, typer.Option("--config", help="YAML with any setting of a build; flags override it.")
    ] = None
    assignments: Assignments = None
    seed: Annotated[
        int | None, typer.Option("--seed", help="Root of every random stream.", rich_help_panel=EXPERT)
    ] = None
    attributes: Annotated[
        list[str] | None, typer.Option("--attribute", help="Ask for this attribute only; may be repeated.")
    ] = None
    selection: Annotated[
        str | None,
        typer.Option(
            "--selection",
            help="reference: keep the best; staged: the same by fewer questions; threshold: all above one.",
            rich_help_panel=EXPERT,
            **choices("reference", "staged", "threshold"),
        ),
    ] = None
    accuracy_threshold: Annotated[
        float | None,
        typer.Option("--accuracy-threshold", help="Least one, for threshold.", rich_help_panel=EXPERT),
    ] = None
    keep_entities: Annotated[
        int | None,
        typer.Option(
            "--keep-entities", help="Entities kept, for reference and staged.", rich_help_panel=EXPERT
        ),
    ] = None
    keep_templates: Annotated[
        int | None,
        typer.Option(
            "--keep-templates", help="Templates kept per attribute, likewise.", rich_help_panel=EXPERT
        ),
    ] = None
    decoding: Annotated[
        str | None,
        typer.Option(
            "--decoding",
            help="sharp: by tokens that stand out, where they help.",
            rich_help_panel=EXPERT,
            **choices("greedy", "sharp"),
        ),
    ] = None
    samples: Annotated[
        int | None,
        typer.Option("--samples", help="Keep by the right ones of so many answers drawn by chance."),
    ] = None
    sample_temperature: Annotated[
        float | None,
        typer.Option(
            "--sample-temperature", help="Logits are divided by it for that.", rich_help_panel=EXPERT
        ),
    ] = None
    max_entities: Annotated[
        int | None, typer.Option("--max-entities", help="Candidate entities per partition; bounds the time.")
    ] = None
    shortlist: Annotated[
        int | None,
        typer.Option("--shortlist", help="Entities asked everything: the best by a question each."),
    ] = None
    max_new_tokens: Annotated[
        int | None, typer.Option("--max-new-tokens", help="Length of an answer.", rich_help_panel=EXPERT)
    ] = None
    match: Annotated[
        str | None,
        typer.Option(
            "--match",
            help="When an answer states a value.",
            rich_help_panel=EXPERT,
            **choices("strict", "reference"),
        ),
    ] = None
    train_pairs: Annotated[
        int | None, typer.Option("--train-pairs", help="Training pairs per attribute.")
    ] = None
    evaluation_pairs: Annotated[
        int | None, typer.Option("--evaluation-pairs", help="Pairs per attribute and held-out split.")
    ] = None
    chat: Annotated[
        bool,
        typer.Option(
            "--chat", help="Ask everything through the model's chat template.", rich_help_panel=MODEL
        ),
    ] = False
    allow_ignorance: Annotated[
        bool,
        typer.Option(
            "--allow-ignorance", help="Build even where the model only guesses.", rich_help_panel=EXPERT
        ),
    ] = False

    def settings(self) -> api.BuildConfig:
        """Return the settings of the file, with the flags that were given in their place."""
        flags = {name: value for name, value in given(asdict(self)).items() if name not in _OF_NO_BUILD}
        read = api.BuildConfig() if self.config is None else api.BuildConfig.from_file(self.config)
        config = api.BuildConfig.from_mapping({**read.model_dump(mode="json"), **flags}, origin="the flags")
        return assigned(config, self.assignments or (), origin="--set")
