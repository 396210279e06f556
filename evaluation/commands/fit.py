"""`ravel fit`: one featurizer."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from evaluation import api
from evaluation.commands.flags import InstanceFolder, Model, Seed, TargetFlags, command
from evaluation.commands.flags.shared import Assignments
from evaluation.commands.printing import Result, keeping, say, shown_progress
from evaluation.config.assignments import assigned


@command
def fit(
    *,
    method: Annotated[str, typer.Argument(metavar="METHOD", help="As in `ravel list methods`.")],
    instance: InstanceFolder,
    site: Annotated[str, typer.Option("--site", help="Such as block_output.2@entity_last.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder for the featurizer.")],
    attribute: Annotated[str | None, typer.Option("--attribute", help="The target attribute.")] = None,
    dim: Annotated[int | None, typer.Option("--dim", help="Number of coordinates.")] = None,
    model: Model = None,
    config: Annotated[Path | None, typer.Option("--config", help="YAML with settings of the method.")] = None,
    assignments: Assignments = None,
    seed: Seed = 0,
    target: TargetFlags,
) -> Result:
    """Find the part of the vector at a site that carries an attribute, and save it.

    Example: ravel fit mdas --instance I --attribute Country --site block_output.2@entity_last --dim 8 --out F
    """
    settings = {}
    if config is not None or assignments:
        kind = api.METHODS.get(method).config_class
        given = kind() if config is None else kind.from_file(config)
        settings = assigned(given, assignments or (), origin="--set").model_dump(mode="json")
    request = api.FitRequest(method, settings, attribute, site, dim, seed)
    kept = f"Checkpoints are kept in {api.unfinished_fit(out)}; the same command goes on from there."
    config_of_target = target.config(model, named_in=instance)
    with keeping(kept), shown_progress() as progress:
        header = api.fit(request, instance, config_of_target, out, progress)

    def text() -> None:
        say(f"{header.method} for {header.attribute} at {header.site}, seed {header.seed}, on {header.model}")
        say(
            f"The featurizer is in {out}. Score it with: ravel score {out} --instance {instance} "
            "--split context"
        )

    return Result({**asdict(header), "site": str(header.site), "out": str(out)}, text)
