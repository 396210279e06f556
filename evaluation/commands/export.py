"""`ravel export`: featurizers and results in the files of other tools. Facts and templates are written by
`ravel data export`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from evaluation import api
from evaluation.commands.flags import LoadFlags, command
from evaluation.commands.flags.names import choices
from evaluation.commands.printing import Result, say
from evaluation.exchange.formats import DATASET, EXPORT_FORMATS, SAEBENCH
from ravel.common.errors import one_of
from ravel.terms.schema import GENERALISATIONS


@command
def export(
    *,
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="A featurizer's folder or a run's cell; for saebench a run, for dataset an instance.",
        ),
    ],
    style: Annotated[str, typer.Option("--format", help="Whose files.", **choices(*EXPORT_FORMATS))],
    out: Annotated[Path, typer.Option("--out", help="A new folder.")],
    model: Annotated[
        str | None,
        typer.Option("--model", help="Hub id, folder, or 'bundled'. By default the featurizer's own."),
    ] = None,
    split: Annotated[
        str, typer.Option("--split", help="saebench: what is held out.", **choices(*GENERALISATIONS))
    ] = "context",
    allow_foreign: Annotated[
        bool, typer.Option("--allow-foreign", help="Export for another model than it was made with.")
    ] = False,
    target: LoadFlags,
) -> Result:
    """Write a featurizer for pyvene or MIB, a run's autoencoder rows for SAEBench, an instance as a data set.

    Facts and templates are written by ravel data export.

    Example: ravel export F --format pyvene --out pyvene-folder
    """
    one_of("export format", style, tuple(EXPORT_FORMATS))
    if style == SAEBENCH:
        return _exported_results(path, split, out)
    if style == DATASET:
        return _exported_instance(path, out)
    opened = target.config(model or api.load_featurizer(path)[1].model)
    exported = api.export(path, style, opened, out, allow_foreign=allow_foreign)
    header = exported.header

    def text() -> None:
        say(f"{header.method} for {header.attribute} at {header.site} is in {out}.")
        say(f"As {exported.written}.")
        for note in exported.notes:
            say(note)

    summary = {"format": style, "out": str(out), "written": exported.written, "notes": list(exported.notes)}
    return Result({**asdict(header), "site": str(header.site), **summary}, text)


def _exported_results(path: Path, split: str, out: Path) -> Result:
    paths = api.export_saebench(path, out, one_of("split", split, GENERALISATIONS))

    def text() -> None:
        for written in paths:
            say(str(written))
        say("The schema is SAEBench's; data and rules of the scores are this suite's.")

    return Result([str(written) for written in paths], text)


def _exported_instance(path: Path, out: Path) -> Result:
    written = api.export_dataset(path, out)

    def text() -> None:
        say(f"{written.rows} rows in {len(written.tables)} Parquet files are in {out}")

    return Result(written.to_json(), text)
