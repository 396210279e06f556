"""`ravel diagnose`: whether a found subspace behaves like a variable that the model itself uses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evaluation import api
from evaluation.commands.flags import Model, TargetFlags, command
from evaluation.commands.flags.diagnosis import DiagnosisFlags
from evaluation.commands.printing import Result, keeping, shown_progress
from evaluation.commands.printing.diagnoses import print_diagnosis, print_run_rows, run_row_json
from evaluation.records.diagnosis import write_diagnosis
from evaluation.records.run_folder import RunFolder
from ravel.common.errors import SuiteError

if TYPE_CHECKING:
    from evaluation.config.target import TargetConfig


@command
def diagnose(
    *,
    path: Annotated[
        Path,
        typer.Argument(metavar="FEATURIZER|RUN", help="Folder of a featurizer, or of a finished run."),
    ],
    instance: Annotated[
        Path | None, typer.Option("--instance", help="Folder written by ravel build; a run has its own.")
    ] = None,
    model: Model = None,
    flags: DiagnosisFlags,
    target: TargetFlags,
) -> Result:
    """Diagnose a found subspace: parts, controls, natural states, hidden pathways; one verdict per row.

    Of a run, every chosen subspace is diagnosed; what was diagnosed before is left as it is, and the report
    is written anew. The checks' thresholds are conventions.

    Example: ravel diagnose F --instance I
    """
    config = flags.config()
    if RunFolder(path).config.is_file():
        _refuse_flags(
            path, instance=instance, attribute=flags.attribute, shuffled=flags.shuffled, out=flags.out
        )
        return _diagnosed_run(path, target.config(model, named_in=path), config)
    if instance is None:
        raise SuiteError(
            expected="the instance that the featurizer was fitted on", came="none", todo="give --instance"
        )
    opened = target.config(model, named_in=instance)
    with keeping("Nothing was written; start the same command again."), shown_progress() as progress:
        diagnosis = api.diagnose(
            path,
            instance,
            opened,
            config,
            attribute=flags.attribute,
            shuffled=flags.shuffled,
            allow_foreign=flags.allow_foreign,
            progress=progress,
        )
    if flags.out is not None:
        write_diagnosis(flags.out, diagnosis)
    return Result(diagnosis.to_json(), lambda: print_diagnosis(diagnosis))


def _refuse_flags(path: Path, **flags: object) -> None:
    given = [f"--{name}" for name, value in flags.items() if value is not None]
    if given:
        raise SuiteError(
            expected="only the folder of a run, which names its instance and its chosen points itself",
            came=f"{path} with {', '.join(given)}",
            todo="leave the flags out, or give the folder of one featurizer (a run's cells/ID)",
        )


def _diagnosed_run(path: Path, target: TargetConfig, config: api.DiagnosisConfig) -> Result:
    kept = f"Finished diagnoses are kept in {path}; the same command goes on from there."
    with keeping(kept), shown_progress() as progress:
        rows = api.diagnose_run(path, target, config, progress)
    return Result([run_row_json(row) for row in rows], lambda: print_run_rows(rows, path))
