"""`ravel run`: runs as folders."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evaluation import api
from evaluation.commands.flags import command
from evaluation.commands.flags.shared import Log
from evaluation.commands.flags.suite import SuiteFlags
from evaluation.commands.printing import Result, keeping, shown_progress
from evaluation.commands.printing.plans import plan_json, print_plan
from evaluation.commands.printing.runs import run_result
from evaluation.records.run_folder import RunFolder
from ravel.common.errors import SuiteError
from ravel.common.progress import Note
from ravel.common.signals import stop_on_term

if TYPE_CHECKING:
    from evaluation.suite.forecast.plan import RunPlan


@command
def run(
    *,
    suite: Annotated[
        Path | None, typer.Argument(metavar="[SUITE.yaml]", help="Methods, attributes, sites, sizes, seeds.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", help="A suite with a name, as in `ravel list presets`.")
    ] = None,
    instance: Annotated[
        Path | None,
        typer.Option("--instance", help="With --preset: an instance to take in place of building it."),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="With --preset: its facts from here, as in `ravel build`.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the run; by default named after the suite.")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only show what would be fitted, with its time and memory.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Insist that the folder holds this run already; it goes on either way."
        ),
    ] = False,
    log: Log = None,
    settings: SuiteFlags,
) -> Result:
    """Run a grid of methods, attributes, sites, sizes and seeds; go on with it where it was stopped.

    Give a suite's file or the name of a preset. Paths inside the suite are relative to the working folder.
    A preset builds its own instance, inside the folder of the run, unless one is given.

    Example: ravel run suite.yaml --out city-run
    """
    _check_sources(suite, preset, instance, data)
    folder = out if out is not None else Path(f"{preset or (suite and suite.stem)}-run")
    if resume:
        RunFolder(folder).require("leave --resume out to begin one")
    if plan and preset is not None and instance is None:
        changed = settings.config(_config_of(suite, preset, instance)).model_dump(mode="json")
        return _planned(api.plan_preset(preset, folder, changed, data))
    config = settings.config(_config_of(suite, preset, instance))
    target = settings.target(config)
    if plan:
        return _planned(api.plan_run(config, folder, target))
    began = time.monotonic()
    stop_on_term()
    kept = f"Finished cells are kept in {folder}; the same command goes on from there."
    suite_json = config.model_dump(mode="json")
    with keeping(kept), shown_progress() as shown, api.logged_run(log, folder, suite_json, shown) as progress:
        # Said before torch is loaded, which takes seconds.
        progress(Note(f"opening {config.model} for the run in {folder}"))
        summary = api.run(api.RunRequest(config, folder, target, preset, data=data), progress)
    return run_result(summary, time.monotonic() - began, of_preset=preset is not None)


def _planned(plan: RunPlan) -> Result:
    return Result(plan_json(plan), lambda: print_plan(plan))


def _config_of(suite: Path | None, preset: str | None, instance: Path | None) -> api.SuiteConfig:
    """Return the suite of a file or of a preset, the latter on the instance given or on none."""
    if preset is not None:
        return api.preset_named(preset).suite_config("" if instance is None else str(instance))
    assert suite is not None
    return api.SuiteConfig.from_file(suite)


def _check_sources(suite: Path | None, preset: str | None, instance: Path | None, data: str | None) -> None:
    if (suite is None) == (preset is None):
        raise SuiteError(
            expected="either the file of a suite or --preset with a name",
            came="neither" if suite is None else "both",
            todo="write a suite (docs/run-folder.md), or see `ravel list presets`",
        )
    if instance is not None and preset is None:
        raise SuiteError(
            expected="--instance together with --preset",
            came="a suite's file, which names its own instance",
            todo="change `instance` in the file",
        )
    if data is not None and (preset is None or instance is not None):
        raise SuiteError(
            expected="--data together with --preset, and no --instance",
            came="a suite's file, which names its own data" if preset is None else "an instance",
            todo="leave --data out, or change `build` in the file",
        )
