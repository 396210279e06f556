"""`ravel import`: featurizers in the files of other tools. Facts and templates are read by
`ravel data import`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from evaluation import api
from evaluation.commands.flags import InstanceFolder, LoadFlags, Model, command
from evaluation.commands.flags.names import choices
from evaluation.commands.printing import Result, say
from evaluation.exchange.formats import IMPORT_FORMATS
from ravel.common.errors import SuiteError, one_of

_ORIENTATIONS: tuple[Literal["auto", "rows", "columns"], ...] = ("auto", "rows", "columns")


@dataclass(frozen=True, slots=True)
class FormatFlags:
    """What single formats leave open."""

    part: Annotated[
        str | None, typer.Option("--part", help="Which of several interventions in the file.")
    ] = None
    dim: Annotated[
        int | None, typer.Option("--dim", help="Take the first so many columns of a rotation only.")
    ] = None
    orientation: Annotated[
        str,
        typer.Option(
            "--orientation", help="ravel-reference: how its matrix lies.", **choices(*_ORIENTATIONS)
        ),
    ] = "auto"
    latents: Annotated[
        str | None, typer.Option("--latents", help="saelens: latents to swap, such as 3,17,200.")
    ] = None
    keep_error: Annotated[
        bool, typer.Option("--keep-error/--drop-error", help="saelens: what happens to the error.")
    ] = True
    other_model: Annotated[
        bool, typer.Option("--other-model", help="saelens: take one whose file names another model.")
    ] = False
    accept_unfit: Annotated[
        bool,
        typer.Option("--accept-unfit", help="saelens: take one that does not hold on this model's vectors."),
    ] = False


@command
def import_featurizer(
    *,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A file or folder of another tool.")],
    style: Annotated[str, typer.Option("--format", help="Whose file.", **choices(*IMPORT_FORMATS))],
    instance: InstanceFolder,
    site: Annotated[str, typer.Option("--site", help="Such as block_output.2@entity_last.")],
    attribute: Annotated[str, typer.Option("--attribute", help="The target attribute it was made for.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder for the featurizer.")],
    model: Model = None,
    flags: FormatFlags,
    target: LoadFlags,
) -> Result:
    """Read a featurizer of another tool, so that it can be scored like a fitted one.

    Facts and templates are read by ravel data import.

    Example: ravel import W --format mib --instance I --site block_output.2@entity_last --attribute A --out F
    """
    request = api.ImportRequest(
        path=path,
        style=one_of("import format", style, tuple(IMPORT_FORMATS)),
        site=site,
        attribute=attribute,
        part=flags.part,
        size=flags.dim,
        orientation=one_of("orientation", flags.orientation, _ORIENTATIONS),
        latents=_latents(flags.latents),
        keeps_error=flags.keep_error,
        other_model=flags.other_model,
        accept_unfit=flags.accept_unfit,
    )
    opened = target.config(model or None, named_in=instance)
    header, imported = api.import_featurizer(request, instance, opened, out)
    featurizer = imported.featurizer

    def text() -> None:
        say(f"{imported.form}, as a {featurizer.kind} of size {featurizer.size}, is in {out}.")
        for note in imported.notes:
            say(note)
        say(f"Score it with: ravel score {out} --instance {instance} --split context")

    of_file = {
        "kind": featurizer.kind,
        "size": featurizer.size,
        "form": imported.form,
        "notes": imported.notes,
    }
    return Result({**asdict(header), "site": str(header.site), **of_file, "out": str(out)}, text)


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
