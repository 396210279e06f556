"""`ravel export` and `import`: featurizers and results in the files of other tools. Facts and templates are
moved by `ravel data export` and `import`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evaluation.commands._flags import (
    AllowPickle,
    Device,
    Dtype,
    InstanceFolder,
    Json,
    Model,
    TrustRemoteCode,
    one_of,
    target_config,
)
from evaluation.commands._output import print_json, say
from ravel.common.errors import SuiteError
from ravel.common.io import read_json
from ravel.terms.schema import GENERALISATIONS

if TYPE_CHECKING:
    from das.featurizers.storage import FeaturizerHeader
    from evaluation.config.target import TargetConfig

__all__ = ["export", "import_featurizer"]

_EXPORTS = ("pyvene", "mib", "saebench")
_IMPORTS = ("pyvene", "ravel-reference", "loreft", "mib", "saelens")
_ORIENTATIONS = ("auto", "rows", "columns")


def export(
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="A featurizer's folder or a run's cell; for saebench a run."),
    ],
    style: Annotated[str, typer.Option("--format", help="pyvene, mib or saebench.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder.")],
    model: Annotated[
        str | None,
        typer.Option("--model", help="Hub id, folder, or 'bundled'. By default the featurizer's own."),
    ] = None,
    split: Annotated[
        str, typer.Option("--split", help="saebench: context, entity or entity_context.")
    ] = "context",
    allow_foreign: Annotated[
        bool, typer.Option("--allow-foreign", help="Export for another model than it was made with.")
    ] = False,
    dtype: Dtype = "float32",
    device: Device = "cpu",
    trust_remote_code: TrustRemoteCode = False,
    allow_pickle: AllowPickle = False,
    as_json: Json = False,
) -> None:
    """Write a featurizer for pyvene or MIB, or a run's autoencoder rows for SAEBench.

    Facts and templates are written by ravel data export.

    Example: ravel export F --format pyvene --out pyvene-folder
    """
    one_of("export format", style, _EXPORTS)
    if style == "saebench":
        _export_results(path, split, out, as_json=as_json)
        return
    from evaluation.exchange.exporting import export_folder

    target = _target(model or _stated_model(path), dtype, device, trust_remote_code, allow_pickle)
    exported = export_folder(path, style, target, out, allow_foreign=allow_foreign)
    summary = {"format": style, "out": str(out), "written": exported.written, "notes": list(exported.notes)}
    if as_json:
        print_json({**_header_json(exported.header), **summary})
        return
    say(f"{exported.header.method} for {exported.header.attribute} at {exported.header.site} is in {out}.")
    say(f"As {exported.written}.")
    for note in exported.notes:
        say(note)


def _export_results(path: Path, split: str, out: Path, *, as_json: bool) -> None:
    from evaluation.exchange.saebench import export_saebench

    paths = export_saebench(path, out, one_of("split", split, GENERALISATIONS))
    if as_json:
        print_json([str(written) for written in paths])
        return
    for written in paths:
        say(str(written))
    say("The schema is SAEBench's; data and rules of the scores are this suite's.")


def import_featurizer(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A file or folder of another tool.")],
    style: Annotated[str, typer.Option("--format", help="pyvene, ravel-reference, loreft, mib or saelens.")],
    instance: InstanceFolder,
    site: Annotated[str, typer.Option("--site", help="Such as block_output.2@entity_last.")],
    attribute: Annotated[str, typer.Option("--attribute", help="The target attribute it was made for.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder for the featurizer.")],
    model: Model = None,
    part: Annotated[
        str | None, typer.Option("--part", help="Which of several interventions in the file.")
    ] = None,
    dim: Annotated[
        int | None, typer.Option("--dim", help="Take the first so many columns of a rotation only.")
    ] = None,
    orientation: Annotated[
        str, typer.Option("--orientation", help="ravel-reference: rows, columns or auto.")
    ] = "auto",
    latents: Annotated[
        str | None, typer.Option("--latents", help="saelens: latents to swap, such as 3,17,200.")
    ] = None,
    keep_error: Annotated[
        bool, typer.Option("--keep-error/--drop-error", help="saelens: what happens to the error.")
    ] = True,
    other_model: Annotated[
        bool, typer.Option("--other-model", help="saelens: take one whose file names another model.")
    ] = False,
    accept_unfit: Annotated[
        bool,
        typer.Option("--accept-unfit", help="saelens: take one that does not hold on this model's vectors."),
    ] = False,
    dtype: Dtype = "float32",
    device: Device = "cpu",
    trust_remote_code: TrustRemoteCode = False,
    allow_pickle: AllowPickle = False,
    as_json: Json = False,
) -> None:
    """Read a featurizer of another tool, so that it can be scored like a fitted one.

    Facts and templates are read by ravel data import.

    Example: ravel import W --format mib --instance I --site block_output.2@entity_last --attribute A --out F
    """
    from evaluation.exchange.importing import ImportRequest, import_folder
    from ravel.instance import Manifest

    request = ImportRequest(
        path=path,
        style=one_of("import format", style, _IMPORTS),
        site=site,
        attribute=attribute,
        part=part,
        size=dim,
        orientation=one_of("orientation", orientation, _ORIENTATIONS),  # type: ignore[arg-type]
        latents=_latents(latents),
        keeps_error=keep_error,
        other_model=other_model,
        accept_unfit=accept_unfit,
    )
    manifest = instance / "manifest.json"
    name = model or Manifest.from_json(read_json(manifest), origin=str(manifest)).model_name
    target = _target(name, dtype, device, trust_remote_code, allow_pickle)
    header, imported = import_folder(request, instance, target, out)
    if as_json:
        found = imported.featurizer
        summary = {"kind": found.kind, "size": found.size, "form": imported.form, "notes": imported.notes}
        print_json({**_header_json(header), **summary, "out": str(out)})
        return
    say(f"{imported.form}, as a {imported.featurizer.kind} of size {imported.featurizer.size}, is in {out}.")
    for note in imported.notes:
        say(note)
    say(f"Score it with: ravel score {out} --instance {instance} --split context")


def _latents(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise SuiteError(
            expected="whole numbers with commas for --latents",
            came=repr(text),
            todo="write for instance 3,17,200",
        ) from None


def _stated_model(path: Path) -> str:
    from das.featurizers.storage import load_featurizer

    return load_featurizer(path)[1].model


def _target(model: str, dtype: str, device: str, trust_remote_code: bool, allow_pickle: bool) -> TargetConfig:
    return target_config(
        model,
        dtype=dtype,
        device=device,
        engine="direct",
        batch_tokens=16_384,
        cache_memory=None,
        cache_folder=None,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
    )


def _header_json(header: FeaturizerHeader) -> dict[str, Any]:
    return {**asdict(header), "site": str(header.site)}
