"""`ravel build`: an instance for a target model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evaluation.commands._flags import (
    AllowPickle,
    BatchTokens,
    CacheFolder,
    CacheMemory,
    Data,
    Device,
    Dtype,
    EngineName,
    Json,
    TrustRemoteCode,
    given,
    target_config,
)
from evaluation.commands._output import Interrupted, print_json, say, shown_progress, warn
from ravel.facts.sources import BUNDLED

if TYPE_CHECKING:
    from ravel.instance import Instance

__all__ = ["build"]


def build(
    model: Annotated[str, typer.Option("--model", help="Hub id, folder, or 'bundled'.")],
    entity_type: Annotated[str, typer.Option("--entity-type", help="As in `ravel data list`.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder for the instance.")],
    data: Data = BUNDLED,
    config: Annotated[
        Path | None, typer.Option("--config", help="YAML with any setting of a build; flags override it.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Root of every random stream.")] = None,
    attribute: Annotated[
        list[str] | None, typer.Option("--attribute", help="Ask for this attribute only; may be repeated.")
    ] = None,
    selection: Annotated[
        str | None,
        typer.Option("--selection", help="reference: keep the best; threshold: keep all above one."),
    ] = None,
    accuracy_threshold: Annotated[
        float | None,
        typer.Option("--accuracy-threshold", help="Least accuracy of what is kept, for threshold."),
    ] = None,
    keep_entities: Annotated[
        int | None, typer.Option("--keep-entities", help="Entities kept, for reference.")
    ] = None,
    keep_templates: Annotated[
        int | None, typer.Option("--keep-templates", help="Templates kept per attribute, for reference.")
    ] = None,
    max_entities: Annotated[
        int | None, typer.Option("--max-entities", help="Candidate entities per partition; bounds the time.")
    ] = None,
    shortlist: Annotated[
        int | None,
        typer.Option("--shortlist", help="Entities asked everything: the best by a question each."),
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option("--max-new-tokens", help="Length of an answer.")
    ] = None,
    match: Annotated[str | None, typer.Option("--match", help="strict or reference.")] = None,
    train_pairs: Annotated[
        int | None, typer.Option("--train-pairs", help="Training pairs per attribute.")
    ] = None,
    evaluation_pairs: Annotated[
        int | None, typer.Option("--evaluation-pairs", help="Pairs per attribute and held-out split.")
    ] = None,
    chat: Annotated[
        bool, typer.Option("--chat", help="Ask everything through the model's chat template.")
    ] = False,
    allow_ignorance: Annotated[
        bool, typer.Option("--allow-ignorance", help="Build even where the model only guesses.")
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
    """Ask a model for every fact, keep what it knows, and draw interchange pairs: an instance.

    Example: ravel build --model bundled --entity-type city --out city-instance
    """
    from evaluation.suite.folders import build_folder
    from ravel.asking.kept_answers import kept_folder
    from ravel.building import BuildConfig

    flags = given(
        seed=seed,
        attributes=attribute,
        selection=selection,
        accuracy_threshold=accuracy_threshold,
        keep_entities=keep_entities,
        keep_templates=keep_templates,
        max_entities=max_entities,
        shortlist=shortlist,
        max_new_tokens=max_new_tokens,
        match=match,
        train_pairs=train_pairs,
        evaluation_pairs=evaluation_pairs,
        chat=chat or None,
        allow_ignorance=allow_ignorance or None,
    )
    settings = BuildConfig() if config is None else BuildConfig.from_file(config)
    resolved = BuildConfig.from_mapping({**settings.model_dump(mode="json"), **flags}, origin="the flags")
    target = target_config(
        model,
        dtype=dtype,
        device=device,
        engine=engine,
        batch_tokens=batch_tokens,
        cache_memory=cache_memory,
        cache_folder=cache_folder,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
    )
    try:
        with shown_progress() as progress:
            instance = build_folder(data, entity_type, target, resolved, out, progress)
    except KeyboardInterrupt:
        if not kept_folder(out).is_dir():
            raise
        kept = f"The answers so far are kept in {kept_folder(out)}; start the same command again to go on."
        raise Interrupted(kept) from None
    _print_summary(instance, out, as_json=as_json)


def _print_summary(instance: Instance, out: Path, *, as_json: bool) -> None:
    from ravel.asking.chat import start_notes

    for warning in instance.manifest.knowledge["warnings"]:
        warn(f"WARNING: {warning}.")
    counts = instance.manifest.counts
    pairs = {split: len(instance.pairs(split)) for split in instance.splits()}
    if as_json:
        print_json(
            {
                "out": str(out),
                "entity_type": instance.entity_type,
                "model": instance.model_name,
                "fingerprint": instance.fingerprint,
                "attributes": list(instance.attributes),
                "pairs": pairs,
                "counts": dict(counts),
                "kept_accuracy": instance.manifest.knowledge["kept_accuracy"],
                "warnings": list(instance.manifest.knowledge["warnings"]),
                "knowledge": dict(instance.manifest.knowledge["attributes"]),
            }
        )
        return
    for name, known in instance.manifest.knowledge["attributes"].items():
        candidates, kept = (known[part]["accuracy"] for part in ("candidates", "kept"))
        say(f"{name}: {_percent(candidates)} of all answers right, {_percent(kept)} over what was kept")
    kept_counts = ", ".join(f"{n['kept']} of {n['candidates']} {p}" for p, n in counts["entities"].items())
    say(f"entities kept: {kept_counts}")
    for note in start_notes(counts):
        say(f"note: {note}")
    say(f"pairs: {', '.join(f'{split} {n}' for split, n in pairs.items())}")
    flips = counts["label_flips"]
    say(f"labels that differ when asked alone: {flips['differ']} of {flips['asked']}")
    say(f"fingerprint {instance.fingerprint}")
    say(f"The instance is in {out}.")


def _percent(share: float | None) -> str:
    return "none asked" if share is None else f"{100 * share:.1f} %"
