"""`ravel build`: an instance for a target model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from evaluation import api
from evaluation.commands.flags import Data, TargetFlags, command, given
from evaluation.commands.printing import Interrupted, Result, shown_progress, warn
from evaluation.commands.printing.instances import instance_json, print_instance
from ravel.asking.kept_answers import kept_folder
from ravel.facts.sources import BUNDLED

__all__ = ["build"]


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
        typer.Option("--selection", help="reference: keep the best; threshold: keep all above one."),
    ] = None
    accuracy_threshold: Annotated[
        float | None,
        typer.Option("--accuracy-threshold", help="Least accuracy of what is kept, for threshold."),
    ] = None
    keep_entities: Annotated[
        int | None, typer.Option("--keep-entities", help="Entities kept, for reference.")
    ] = None
    keep_templates: Annotated[
        int | None, typer.Option("--keep-templates", help="Templates kept per attribute, for reference.")
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


@command
def build(
    *,
    model: Annotated[
        str,
        typer.Option(
            "--model", help="Hub id, folder, GGUF file, a name of `ravel model fetch`, or 'bundled'."
        ),
    ],
    entity_type: Annotated[str, typer.Option("--entity-type", help="As in `ravel data list`.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder for the instance.")],
    data: Data = BUNDLED,
    flags: BuildFlags,
    target: TargetFlags,
) -> Result:
    """Ask a model for every fact, keep what it knows, and draw interchange pairs: an instance.

    Example: ravel build --model bundled --entity-type city --out city-instance
    """
    settings = flags.settings()
    try:
        with shown_progress() as progress:
            instance = api.build(data, entity_type, target.config(model), settings, out, progress)
    except KeyboardInterrupt:
        if not kept_folder(out).is_dir():
            raise
        kept = f"The answers so far are kept in {kept_folder(out)}; start the same command again to go on."
        raise Interrupted(kept) from None
    for warning in instance.manifest.knowledge["warnings"]:
        warn(f"WARNING: {warning}.")
    return Result(json=instance_json(instance, out), text=lambda: print_instance(instance, out))
