"""`ravel fit` and `ravel score`: one featurizer at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from evaluation.commands._flags import (
    AllowPickle,
    BatchTokens,
    CacheFolder,
    CacheMemory,
    Device,
    Dtype,
    EngineName,
    InstanceFolder,
    Json,
    Model,
    Seed,
    TrustRemoteCode,
    one_of,
    target_config,
)
from evaluation.commands._output import keeping, print_json, print_json_lines, print_rows, say, shown_progress
from evaluation.records.scores import ScoreRecord
from evaluation.scoring.metrics import Rounding
from ravel.facts.schema import GENERALISATIONS, PARTITIONS

__all__ = ["fit", "score"]

_ROUNDINGS: tuple[Rounding, ...] = get_args(Rounding)


def fit(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="As in `ravel list methods`.")],
    instance: InstanceFolder,
    site: Annotated[str, typer.Option("--site", help="Such as block_output.2@entity_last.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder for the featurizer.")],
    attribute: Annotated[str | None, typer.Option("--attribute", help="The target attribute.")] = None,
    dim: Annotated[int | None, typer.Option("--dim", help="Number of coordinates.")] = None,
    model: Model = None,
    config: Annotated[Path | None, typer.Option("--config", help="YAML with settings of the method.")] = None,
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
    """Find the part of the vector at a site that carries an attribute, and save it.

    Example: ravel fit mdas --instance I --attribute Country --site block_output.2@entity_last --dim 8 --out F
    """
    from dataclasses import asdict

    from evaluation.suite.folders import FitRequest, fit_folder, unfinished_fit

    settings = {} if config is None else _settings(method, config)
    request = FitRequest(method, settings, attribute, site, dim, seed)
    target = target_config(
        _model_of(instance, model),
        dtype=dtype,
        device=device,
        engine=engine,
        batch_tokens=batch_tokens,
        cache_memory=cache_memory,
        cache_folder=cache_folder,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
    )
    kept = f"Checkpoints are kept in {unfinished_fit(out)}; the same command goes on from there."
    with keeping(kept), shown_progress() as progress:
        header = fit_folder(request, instance, target, out, progress)
    if as_json:
        print_json({**asdict(header), "site": str(header.site), "out": str(out)})
        return
    say(f"{header.method} for {header.attribute} at {header.site}, seed {header.seed}, on {header.model}")
    say(f"The featurizer is in {out}. Score it with: ravel score {out} --instance {instance} --split context")


def score(
    featurizer: Annotated[
        Path, typer.Argument(metavar="F", help="Folder written by ravel fit, or a run's cell.")
    ],
    instance: InstanceFolder,
    split: Annotated[
        str, typer.Option("--split", help="What is held out: context, entity or entity_context.")
    ],
    partition: Annotated[str, typer.Option("--partition", help="val or test.")] = "test",
    attribute: Annotated[
        list[str] | None,
        typer.Option("--attribute", help="Target attribute, repeatable; by default the featurizer's own."),
    ] = None,
    model: Model = None,
    label_tokens: Annotated[
        int, typer.Option("--label-tokens", min=1, help="How many of an answer's first tokens are compared.")
    ] = 3,
    tolerance: Annotated[
        bool,
        typer.Option(
            "--tolerance/--no-tolerance", help="Whether an answer that is close counts, as for latitudes."
        ),
    ] = True,
    rounding: Annotated[
        str, typer.Option("--rounding", help="none, or reference: as the paper's code.")
    ] = "none",
    seed: Annotated[  # scores drew resamples once, and scripts may still name their seed
        int, typer.Option("--seed", hidden=True, help="Read and not used: no score draws anything.")
    ] = 0,
    allow_foreign: Annotated[
        bool,
        typer.Option("--allow-foreign", help="Score with another model or instance than it was made with."),
    ] = False,
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
    """Score a featurizer on held-out pairs: cause, isolate, disentangle, with intervals.

    Example: ravel score F --instance I --split context
    """
    from evaluation.suite.folders import ScoreRequest, score_folder

    request = ScoreRequest(
        generalisation=one_of("split", split, GENERALISATIONS),
        partition=one_of("partition to score", partition, [p for p in PARTITIONS if p != "train"]),
        attributes=tuple(attribute or ()),
        label_tokens=label_tokens,
        tolerance=tolerance,
        rounding=one_of("rounding", rounding, _ROUNDINGS),
        allow_foreign=allow_foreign,
    )
    target = target_config(
        _model_of(instance, model),
        dtype=dtype,
        device=device,
        engine=engine,
        batch_tokens=batch_tokens,
        cache_memory=cache_memory,
        cache_folder=cache_folder,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
    )
    with keeping("Nothing was written; start the same command again."), shown_progress() as progress:
        records = score_folder(featurizer, instance, target, request, progress)
    if as_json:
        print_json_lines([record.to_json() for record in records])
        return
    _print_scores(records)


def _settings(method: str, config: Path) -> dict[str, Any]:
    from das.methods.registry import METHODS

    return METHODS.get(method).config_class.from_file(config).model_dump(mode="json")


def _model_of(instance: Path, model: str | None) -> str:
    """Return the model that was asked for, or else the one the instance names."""
    from evaluation.suite.named_model import model_named_in

    return model_named_in(instance) if model is None else model


def _print_scores(records: list[ScoreRecord]) -> None:
    first = records[0]
    say(f"{first.method} at {first.site}, size {first.size}, {first.generalisation}_{first.partition} pairs")
    print_rows(
        ["attribute", "cause", "isolate", "disentangle", "n cause", "n isolate"],
        [
            [
                record.attribute,
                *(
                    _score_text(getattr(record, name), getattr(record, f"{name}_interval"))
                    for name in ("cause", "isolate", "disentangle")
                ),
                record.n_cause,
                record.n_isolate,
            ]
            for record in records
        ],
    )


def _score_text(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return "no pairs"
    return f"{value:.3f}" + ("" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]")
