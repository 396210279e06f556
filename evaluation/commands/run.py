"""`ravel run` and `verify`: runs as folders."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evaluation.commands._flags import AllowPickle, Json, TrustRemoteCode, given, target_config
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
from evaluation.runs import RunFolder
from evaluation.tables import attribute_table, main_table

if TYPE_CHECKING:
    from evaluation.steps import PlannedCell
    from evaluation.suite import RunSummary

__all__ = ["print_run", "run", "run_json", "verify"]

_PROBLEMS = 2


def run(
    suite: Annotated[
        Path, typer.Argument(metavar="SUITE.yaml", help="Methods, attributes, sites, sizes, seeds.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the run; by default named after the suite.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only show what would be fitted.")] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Insist that the folder holds this run already; it goes on either way."
        ),
    ] = False,
    engine: Annotated[
        str | None, typer.Option("--engine", help="direct or reference; overrides the suite.")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu, cuda, ...; overrides the suite.")
    ] = None,
    batch_tokens: Annotated[
        int | None,
        typer.Option("--batch-tokens", min=1, help="Tokens of one forward pass; overrides the suite."),
    ] = None,
    trust_remote_code: TrustRemoteCode = False,
    allow_pickle: AllowPickle = False,
    as_json: Json = False,
) -> None:
    """Run a grid of methods, attributes, sites, sizes and seeds; go on with it where it was stopped.

    Paths inside the suite are relative to the working folder.

    Example: ravel run suite.yaml --out city-run
    """
    from evaluation.plan import SuiteConfig
    from evaluation.steps import plan_run, run_folder

    overrides = given(engine=engine, device=device, batch_tokens=batch_tokens)
    config = SuiteConfig.from_file(suite).model_copy(update=overrides)
    folder = out if out is not None else Path(f"{suite.stem}-run")
    if resume and not RunFolder(folder).config.is_file():
        raise no_run(folder, "leave --resume out to begin one")
    target = target_config(
        config.model,
        dtype=config.dtype,
        device=config.device,
        engine=config.engine,
        batch_tokens=config.batch_tokens,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
    )
    if plan:
        _print_plan(plan_run(config, folder, target), as_json=as_json)
        return
    kept = f"Finished cells are kept in {folder}; the same command goes on from there."
    with keeping(kept), shown_progress() as progress:
        summary = run_folder(config, folder, target, progress)
    if as_json:
        print_json(run_json(summary))
        return
    print_run(summary)


def _print_plan(planned: list[PlannedCell], *, as_json: bool) -> None:
    rows = [
        {
            "cell": entry.cell.cell_id,
            "method": entry.cell.method,
            "attribute": entry.cell.attribute,
            "site": str(entry.cell.site),
            "size": entry.cell.size,
            "seed": entry.cell.seed,
            "finished": entry.finished,
        }
        for entry in planned
    ]
    if as_json:
        print_json(rows)
        return
    print_rows(list(rows[0]), [[_shown(value) for value in row.values()] for row in rows])
    left = sum(not entry.finished for entry in planned)
    say(f"{len(planned)} cells, {left} of them to fit")


def _shown(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else value


def print_run(summary: RunSummary) -> None:
    """Print the tables of a finished run, what differs between methods, and where everything lies."""
    print_table(main_table(summary.scores, summary.averages))
    print_table(attribute_table(summary.scores, summary.averages))
    for comparison in summary.comparisons:
        interval = comparison.disentangle_interval
        if comparison.disentangle is not None and interval is not None:
            say(
                f"{comparison.generalisation}: disentangle of {comparison.first} minus {comparison.second} "
                f"{comparison.disentangle:+.3f} [{interval[0]:+.3f}, {interval[1]:+.3f}]"
            )
    say("")
    for what, path in _places(summary.folder).items():
        say(f"{what + ':':<14}{path}")


def run_json(summary: RunSummary) -> dict[str, Any]:
    """Return what `--json` prints of a finished run."""
    return {
        "out": str(summary.folder),
        "averages": [record.to_json() for record in summary.averages],
        "comparisons": [record.to_json() for record in summary.comparisons],
        "files": {what: str(path) for what, path in _places(summary.folder).items()},
    }


def _places(folder: Path) -> dict[str, Path]:
    run_folder = RunFolder(folder)
    return {
        "scores": run_folder.scores,
        "averages": run_folder.averages,
        "comparisons": run_folder.comparisons,
        "tables": run_folder.tables,
        "plots": run_folder.plots,
        "featurizers": folder / "cells",
        "instance": run_folder.instance,
        "config": run_folder.config,
        "environment": run_folder.environment,
    }


def verify(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Folder of an instance, a featurizer or a run.")
    ],
    as_json: Json = False,
) -> None:
    """Check hashes, fingerprints, tensors, pairs and scores of a folder; exit with 2 if something is wrong.

    Example: ravel verify city-run
    """
    from evaluation.verify import verify_artefact

    found = verify_artefact(path)
    if as_json:
        print_json({**asdict(found), "path": str(found.path), "sound": found.sound})
    else:
        for note in found.notes:
            say(note)
        say(f"{found.kind} in {found.path}: {'sound' if found.sound else f'{len(found.problems)} problems'}")
    for problem in found.problems:
        warn(problem)
    if not found.sound:
        raise typer.Exit(_PROBLEMS)
