"""`ravel run`: runs as folders."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evaluation.commands._flags import (
    AllowPickle,
    CacheFolder,
    CacheMemory,
    Json,
    TrustRemoteCode,
    given,
    target_config,
)
from evaluation.commands._output import (
    keeping,
    print_json,
    print_rows,
    print_table,
    say,
    shown_progress,
    warn,
)
from evaluation.commands._runs import no_run
from evaluation.records.control_checks import control_summary
from evaluation.records.failures import FAILURES
from evaluation.records.run_folder import RunFolder
from evaluation.report.tables import attribute_table, main_table
from ravel.common.errors import SuiteError
from ravel.common.signals import stop_on_term

if TYPE_CHECKING:
    from evaluation.config.suite import SuiteConfig
    from evaluation.config.target import TargetConfig
    from evaluation.suite.forecast.plan import PlannedCell, RunPlan
    from evaluation.suite.run import RunSummary

__all__ = ["print_run", "run", "run_json"]

_FAILED = 1
_NAMED_FAILURES = 5
_COMPARED = 30
"""Comparisons that are printed one by one; the marks of the table say as much of more methods."""


def run(
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
    controls: Annotated[
        str | None,
        typer.Option(
            "--controls",
            help="Controls that must fail: all, or names with commas, as in `ravel list controls`.",
        ),
    ] = None,
    engine: Annotated[
        str | None, typer.Option("--engine", help="direct, resume or reference; overrides the suite.")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu, cuda, ...; overrides the suite.")
    ] = None,
    batch_tokens: Annotated[
        int | None,
        typer.Option("--batch-tokens", min=1, help="Tokens of one forward pass; overrides the suite."),
    ] = None,
    execution: Annotated[
        str | None,
        typer.Option("--execution", help="serial, processes or ray; overrides the suite."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Cells that are worked on at once.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Processor threads, all workers together.")
    ] = None,
    retries: Annotated[
        int | None,
        typer.Option("--retries", min=0, help="How often a cell that fails is tried again; 2 by default."),
    ] = None,
    cache_memory: CacheMemory = None,
    cache_folder: CacheFolder = None,
    trust_remote_code: TrustRemoteCode = False,
    allow_pickle: AllowPickle = False,
    as_json: Json = False,
) -> None:
    """Run a grid of methods, attributes, sites, sizes and seeds; go on with it where it was stopped.

    Give a suite's file or the name of a preset. Paths inside the suite are relative to the working folder.
    A preset builds its own instance, inside the folder of the run, unless one is given.

    Example: ravel run suite.yaml --out city-run
    """
    from evaluation.suite.forecast.plan import plan_preset, plan_run

    _check_sources(suite, preset, instance)
    folder = out if out is not None else Path(f"{preset or (suite and suite.stem)}-run")
    if resume and not RunFolder(folder).config.is_file():
        raise no_run(folder, "leave --resume out to begin one")
    overrides = given(
        engine=engine,
        device=device,
        batch_tokens=batch_tokens,
        cache_memory=cache_memory,
        cache_folder=cache_folder,
        controls=None if controls is None else tuple(name.strip() for name in controls.split(",")),
    )
    if plan and preset is not None and instance is None:
        _print_plan(plan_preset(preset, folder, overrides), as_json=as_json)
        return
    config = _config_of(suite, preset, instance).model_copy(update=overrides)
    carried = given(kind=execution, workers=workers, threads=threads, retries=retries)
    config = config.model_copy(update={"execution": config.execution.with_settings(carried)})
    target = target_config(
        config.model,
        dtype=config.dtype,
        device=config.device,
        engine=config.engine,
        batch_tokens=config.batch_tokens,
        cache_memory=config.cache_memory,
        cache_folder=config.cache_folder,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
    )
    if plan:
        _print_plan(plan_run(config, folder, target), as_json=as_json)
        return
    began = time.monotonic()
    stop_on_term()
    summary = _carried_out(preset, config, folder, target)
    cost = {"seconds": time.monotonic() - began, "peak_memory_bytes": _peak_memory()}
    if as_json:
        print_json({**run_json(summary), **cost})
        _say_failures(summary)
        return
    print_run(summary)
    published = folder / "tables" / "published.md"
    if preset is not None and published.is_file():
        say(published.read_text(encoding="utf-8"))
    minutes, gibibytes = cost["seconds"] / 60, cost["peak_memory_bytes"] / 2**30
    say(f"{'took:':<14}{minutes:.1f} min, peak memory {gibibytes:.2f} GiB")
    _say_failures(summary)


def _say_failures(summary: RunSummary) -> None:
    """Name the cells that failed, and exit so that a script notices; with none, do nothing."""
    for failure in summary.failures[:_NAMED_FAILURES]:
        warn(f"Failed in {failure.attempts} attempts: {failure.label()}. {failure.error}")
    if summary.failures:
        warn(
            f"{len(summary.failures)} cells failed and are left out of the tables; {FAILURES} in the run has "
            "their errors. The same command tries them again."
        )
        raise typer.Exit(_FAILED)


def _config_of(suite: Path | None, preset: str | None, instance: Path | None) -> SuiteConfig:
    """Return the suite of a file or of a preset, the latter on the instance given or on none."""
    from evaluation.config.preset import preset_named
    from evaluation.config.suite import SuiteConfig

    if preset is not None:
        return preset_named(preset).suite_config("" if instance is None else str(instance))
    assert suite is not None
    return SuiteConfig.from_file(suite)


def _carried_out(preset: str | None, config: SuiteConfig, folder: Path, target: TargetConfig) -> RunSummary:
    from evaluation.suite.run import RunRequest, run_suite

    kept = f"Finished cells are kept in {folder}; the same command goes on from there."
    with keeping(kept), shown_progress() as progress:
        return run_suite(RunRequest(config, folder, target, preset), progress)


def _check_sources(suite: Path | None, preset: str | None, instance: Path | None) -> None:
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


def _peak_memory() -> int:
    """Return the most memory this process has held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


_LISTED = 60
"""Cells up to which a plan lists each; a longer one is summed up per method."""


def _print_plan(plan: RunPlan, *, as_json: bool) -> None:
    rows = [_plan_row(entry) for entry in plan.cells]
    if as_json:
        print_json(
            {
                "cells": rows,
                "estimate": {
                    **asdict(plan.estimate),
                    "seconds_per_cell": plan.estimate.seconds_per_cell,
                    "gpus": plan.estimate.gpus,
                },
                "assumed": plan.assumed,
                "controls": plan.controls,
                "cache": plan.cache.to_json(),
            }
        )
        return
    if len(rows) <= _LISTED:
        print_rows(list(rows[0]), [[_shown(value) for value in row.values()] for row in rows])
    else:
        print_rows(["method", "cells", "finished", "sites", "sizes"], _summed(plan.cells))
    left = sum(not entry.finished for entry in plan.cells)
    say(f"{len(plan.cells)} cells, {left} of them to fit")
    if plan.controls:
        say(f"and {plan.controls} cells of controls, at the points that will be chosen")
    say(plan.estimate.sentence())
    say(plan.estimate.needs(plan.device))
    say(f"Rate {plan.assumed}. Fits that look at vectors only are not counted.")
    say(f"Cache of the engine resume: {plan.cache.text()}")


def _plan_row(entry: PlannedCell) -> dict[str, Any]:
    return {
        "cell": entry.cell.cell_id,
        "method": entry.cell.method,
        "attribute": entry.cell.attribute,
        "site": str(entry.cell.site),
        "size": entry.cell.size,
        "seed": entry.cell.seed,
        "finished": entry.finished,
    }


def _summed(cells: Sequence[PlannedCell]) -> list[list[object]]:
    rows: list[list[object]] = []
    for method in dict.fromkeys(entry.cell.method for entry in cells):
        own = [entry for entry in cells if entry.cell.method == method]
        sizes = sorted({entry.cell.size for entry in own if entry.cell.size is not None})
        rows.append(
            [
                method,
                len(own),
                sum(entry.finished for entry in own),
                len({entry.cell.site for entry in own}),
                ", ".join(map(str, sizes)) or "-",
            ]
        )
    return rows


def _shown(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else value


def print_run(summary: RunSummary) -> None:
    """Print the tables of a finished run, what differs between methods, and where everything lies."""
    main = main_table(
        summary.scores, summary.averages, comparisons=summary.comparisons, refusals=summary.refusals
    )
    print_table(main)
    print_table(attribute_table(summary.scores, summary.averages, refusals=summary.refusals))
    for comparison in summary.comparisons if len(summary.comparisons) <= _COMPARED else ():
        interval = comparison.disentangle_interval
        if comparison.disentangle is not None and interval is not None:
            say(
                f"{comparison.generalisation}: disentangle of {comparison.first} minus {comparison.second} "
                f"{comparison.disentangle:+.3f} [{interval[0]:+.3f}, {interval[1]:+.3f}]"
            )
    for sentence in control_summary(summary.controls):
        say(sentence)
    say("")
    for what, path in _places(summary.folder).items():
        say(f"{what + ':':<14}{path}")


def run_json(summary: RunSummary) -> dict[str, Any]:
    """Return what `--json` prints of a finished run."""
    return {
        "out": str(summary.folder),
        "averages": [record.to_json() for record in summary.averages],
        "comparisons": [record.to_json() for record in summary.comparisons],
        "refusals": [record.to_json() for record in summary.refusals],
        "controls": [record.to_json() for record in summary.controls],
        "failures": [record.to_json() for record in summary.failures],
        "files": {what: str(path) for what, path in _places(summary.folder).items()},
    }


def _places(folder: Path) -> dict[str, Path]:
    run_folder = RunFolder(folder)
    return {
        "scores": run_folder.scores,
        "averages": run_folder.averages,
        "comparisons": run_folder.comparisons,
        "page": run_folder.page,
        "tables": run_folder.tables,
        "plots": run_folder.plots,
        "featurizers": folder / "cells",
        "instance": run_folder.instance,
        "refusals": run_folder.refusals,
        "config": run_folder.config,
        "environment": run_folder.environment,
    }
