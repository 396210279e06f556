"""`ravel diagnose`: whether a found subspace behaves like a variable that the model itself uses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evaluation.commands._flags import (
    AllowPickle,
    BatchTokens,
    CacheFolder,
    CacheMemory,
    Device,
    Dtype,
    EngineName,
    Json,
    Model,
    Seed,
    TrustRemoteCode,
    one_of,
    target_config,
)
from evaluation.commands._output import keeping, print_json, print_rows, say, shown_progress
from evaluation.validity.diagnosis import Diagnosis, Undiagnosed, write_diagnosis
from ravel.common.errors import SuiteError
from ravel.facts.schema import GENERALISATIONS, PARTITIONS

if TYPE_CHECKING:
    from evaluation.config.target import TargetConfig
    from evaluation.validity.diagnose_run import DiagnosisConfig, RunRow

__all__ = ["diagnose"]


def diagnose(
    path: Annotated[
        Path,
        typer.Argument(metavar="FEATURIZER|RUN", help="Folder of a featurizer, or of a finished run."),
    ],
    instance: Annotated[
        Path | None, typer.Option("--instance", help="Folder written by ravel build; a run has its own.")
    ] = None,
    model: Model = None,
    attribute: Annotated[
        str | None, typer.Option("--attribute", help="Target attribute; by default the featurizer's own.")
    ] = None,
    split: Annotated[
        str, typer.Option("--split", help="What is held out: context, entity or entity_context.")
    ] = "context",
    partition: Annotated[str, typer.Option("--partition", help="val or test.")] = "val",
    limit_pairs: Annotated[
        int, typer.Option("--limit-pairs", min=1, help="Most cause pairs, and most isolate pairs.")
    ] = 200,
    shuffled: Annotated[
        Path | None,
        typer.Option("--shuffled", help="The same method's featurizer fitted on shuffled labels."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="JSON file for the diagnosis of a featurizer.")
    ] = None,
    allow_foreign: Annotated[
        bool,
        typer.Option("--allow-foreign", help="Diagnose with a model or instance that it was not made with."),
    ] = False,
    seed: Seed = 0,
    dtype: Dtype = "float32",
    device: Device = "cpu",
    engine: EngineName = "resume",
    batch_tokens: BatchTokens = 16_384,
    cache_memory: CacheMemory = None,
    cache_folder: CacheFolder = None,
    trust_remote_code: TrustRemoteCode = False,
    allow_pickle: AllowPickle = False,
    as_json: Json = False,
) -> None:
    """Diagnose a found subspace: parts, controls, natural states, hidden pathways; one verdict per row.

    Of a run, every chosen subspace is diagnosed; what was diagnosed before is left as it is, and the report
    is written anew. The checks' thresholds are conventions.

    Example: ravel diagnose F --instance I
    """
    from evaluation.validity.diagnose_run import DiagnosisConfig, is_run

    config = DiagnosisConfig(
        generalisation=one_of("split", split, GENERALISATIONS),
        partition=one_of("partition to diagnose on", partition, [p for p in PARTITIONS if p != "train"]),
        limit_pairs=limit_pairs,
        seed=seed,
    )
    whole_run = is_run(path)
    if whole_run:
        _refuse_flags(path, instance=instance, attribute=attribute, shuffled=shuffled, out=out)
    target = target_config(
        _model_of(path if whole_run else instance, model),
        dtype=dtype,
        device=device,
        engine=engine,
        batch_tokens=batch_tokens,
        cache_memory=cache_memory,
        cache_folder=cache_folder,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
    )
    if whole_run:
        _diagnose_run(path, target, config, as_json=as_json)
        return
    from evaluation.validity.diagnose_run import diagnose_folder

    assert instance is not None
    with keeping("Nothing was written; start the same command again."), shown_progress() as progress:
        found = diagnose_folder(
            path,
            instance,
            target,
            config,
            attribute=attribute,
            shuffled=shuffled,
            allow_foreign=allow_foreign,
            progress=progress,
        )
    if out is not None:
        write_diagnosis(out, found)
    if as_json:
        print_json(found.to_json())
    else:
        _print(found)


def _refuse_flags(path: Path, **flags: object) -> None:
    given = [f"--{name}" for name, value in flags.items() if value is not None]
    if given:
        raise SuiteError(
            expected="only the folder of a run, which names its instance and its chosen points itself",
            came=f"{path} with {', '.join(given)}",
            todo="leave the flags out, or give the folder of one featurizer (a run's cells/ID)",
        )


def _model_of(folder: Path | None, model: str | None) -> str:
    """Return the model that was asked for, or else the one of the run or the instance in `folder`."""
    from evaluation.suite.folders import model_named_in

    if folder is None:
        raise SuiteError(
            expected="the instance that the featurizer was fitted on", came="none", todo="give --instance"
        )
    return model_named_in(folder) if model is None else model


def _diagnose_run(path: Path, target: TargetConfig, config: DiagnosisConfig, *, as_json: bool) -> None:
    from evaluation.validity.diagnose_run import diagnose_run

    kept = f"Finished diagnoses are kept in {path}; the same command goes on from there."
    with keeping(kept), shown_progress() as progress:
        rows = diagnose_run(path, target, config, progress)
    if as_json:
        print_json([_row_json(row) for row in rows])
        return
    for row in rows:
        said = row.found.reason if isinstance(row.found, Undiagnosed) else row.found.verdict
        say(f"{row.method}, {row.attribute}, seed {row.seed}: {said}")
    say(f"The numbers are in {path}/cells/*/diagnostics.json and on the page {path / 'report.html'}")


def _row_json(row: RunRow) -> dict[str, object]:
    head = {"cell": row.cell, "method": row.method, "attribute": row.attribute, "seed": row.seed}
    if isinstance(row.found, Undiagnosed):
        return {**head, "reason": row.found.reason, "diagnosis": None}
    return {**head, "reason": None, "diagnosis": row.found.to_json()}


def _print(found: Diagnosis) -> None:
    split = f"{found.generalisation}_{found.partition}"
    pairs = f"{found.n_cause} cause and {found.n_isolate} isolate pairs of {split}"
    say(f"{found.method} for {found.attribute} at {found.site}, size {found.size} of {found.width}; {pairs}")
    print_rows(
        ["check", "result", "value", "passes", "finding"],
        [
            [
                check.name,
                check.result,
                _number(check.value),
                f"{check.sense} {check.threshold:g}",
                check.reason or check.words,
            ]
            for check in found.checks
        ],
    )
    print_rows(
        ["patch", "of", "size", "cause", "isolate", "FLDD", "reach"],
        [
            [p.name, p.about, p.size, *(_number(v) for v in (p.cause, p.isolate, p.fldd, p.reach))]
            for p in found.patches
            if not p.reason
        ],
    )
    say(f"Thresholds are conventions; {found.normalisation}.")
    say(f"Verdict: {found.verdict}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
