"""Settings of a build as flags."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from evaluation import api
from evaluation.commands.flags.names import given

__all__ = ["BuildFlags"]


@dataclass(frozen=True, slots=True)
class BuildFlags:
    """Settings of a build, as a user gives them."""

    config: Annotated[
        Path | None, typer.Option("--config", help="YAML with any setting of a build; flags override it.")
    ] = None
    seed: Annotated[int | None, typer.Option("--seed", help="Root of every random stream.")] = None
    attributes: Annotated[
        list[str] | None, typer.Option("--attribute", help="Ask for this attribute only; may be repeated.")
    ] = None
    selection: Annotated[
        str | None,
        typer.Option(
            "--selection",
            help="reference: keep the best; staged: the same by fewer questions; threshold: all above one.",
        ),
    ] = None
    accuracy_threshold: Annotated[
        float | None,
        typer.Option("--accuracy-threshold", help="Least accuracy of what is kept, for threshold."),
    ] = None
    keep_entities: Annotated[
        int | None, typer.Option("--keep-entities", help="Entities kept, for reference and staged.")
    ] = None
    keep_templates: Annotated[
        int | None, typer.Option("--keep-templates", help="Templates kept per attribute, likewise.")
    ] = None
    max_entities: Annotated[
        int | None, typer.Option("--max-entities", help="Candidate entities per partition; bounds the time.")
    ] = None
    shortlist: Annotated[
        int | None,
        typer.Option("--shortlist", help="Entities asked everything: the best by a question each."),
    ] = None
    max_new_tokens: Annotated[int | None, typer.Option("--max-new-tokens", help="Length of an answer.")] = (
        None
    )
    match: Annotated[str | None, typer.Option("--match", help="strict or reference.")] = None
    train_pairs: Annotated[
        int | None, typer.Option("--train-pairs", help="Training pairs per attribute.")
    ] = None
    evaluation_pairs: Annotated[
        int | None, typer.Option("--evaluation-pairs", help="Pairs per attribute and held-out split.")
    ] = None
    chat: Annotated[
        bool, typer.Option("--chat", help="Ask everything through the model's chat template.")
    ] = False
    allow_ignorance: Annotated[
        bool, typer.Option("--allow-ignorance", help="Build even where the model only guesses.")
    ] = False

    def settings(self) -> api.BuildConfig:
        """Return the settings of the file, with the flags that were given in their place."""
        flags = {name: value for name, value in given(asdict(self)).items() if name != "config"}
        read = api.BuildConfig() if self.config is None else api.BuildConfig.from_file(self.config)
        return api.BuildConfig.from_mapping({**read.model_dump(mode="json"), **flags}, origin="the flags")
