"""`ravel build`: an instance for a target model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from evaluation import api
from evaluation.commands.flags import Data, NamedModel, TargetFlags, command
from evaluation.commands.flags.build import BuildFlags
from evaluation.commands.printing import Interrupted, Result, say, shown_progress
from evaluation.commands.printing.instances import instance_json, print_instance
from ravel.asking.kept_answers import kept_folder
from ravel.facts.sources import BUNDLED
from ravel.instance import instance_warnings


@command
def build(
    *,
    model: NamedModel,
    entity_type: Annotated[str, typer.Option("--entity-type", help="As in `ravel data list`.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder for the instance.")],
    data: Data = BUNDLED,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan", help="Only say what would be asked, and its time and memory by a short probe."
        ),
    ] = False,
    flags: BuildFlags,
    target: TargetFlags,
) -> Result:
    """Ask a model for every fact, keep what it knows, and draw interchange pairs: an instance.

    A build that is killed goes on when the same command is given again.

    Example: ravel build --model bundled --entity-type city --out city-instance
    """
    settings = flags.settings()
    if plan:
        with shown_progress() as progress:
            planned = api.plan_build(data, entity_type, target.config(model), settings, progress)
        return Result(json=asdict(planned), text=lambda: say("\n".join(planned.lines())))
    try:
        with shown_progress() as progress:
            instance = api.build(data, entity_type, target.config(model), settings, out, progress)
    except KeyboardInterrupt:
        if not kept_folder(out).is_dir():
            raise
        kept = f"The answers so far are kept in {kept_folder(out)}; start the same command again to go on."
        raise Interrupted(kept) from None
    return Result(
        json=instance_json(instance, out),
        text=lambda: print_instance(instance, out),
        warnings=instance_warnings(instance.manifest),
    )
