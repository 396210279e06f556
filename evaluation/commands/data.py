"""`ravel data`: what facts and templates there are, what to know of them, and moving them between formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluation import api
from evaluation.commands.flags import Data, command
from evaluation.commands.flags.names import choices
from evaluation.commands.own_facts import check, new
from evaluation.commands.printing import Result, say
from evaluation.commands.printing.facts import print_type, print_types
from ravel.common.errors import one_of
from ravel.facts.overview import TABLE_FORMATS
from ravel.facts.sources import BUNDLED

app = typer.Typer(no_args_is_help=True, help="Facts and templates: list, show, audit, begin your own.")

TypeName = Annotated[str, typer.Argument(metavar="TYPE", help="An entity type, as in `ravel data list`.")]
Out = Annotated[Path, typer.Option("--out", help="A new folder.")]


@app.command("list")
@command
def list_types() -> Result:
    """List the entity types, and how much data is bundled for each.

    Example: ravel data list
    """
    rows = api.data_list()
    return Result(rows, lambda: print_types(rows))


@app.command()
@command
def show(name: TypeName, data: Data = BUNDLED) -> Result:
    """Show a type: its attributes, how much there is in each partition, an example of everything.

    Example: ravel data show city
    """
    shown = api.data_show(api.open_tables(data, name))
    return Result(shown, lambda: print_type(shown))


@app.command()
@command
def audit(name: TypeName, data: Data = BUNDLED) -> Result:
    """Report what to know of the data before believing a score: counts, skew, dependence, odd spots.

    Example: ravel data audit city --data path/to/data.tgz
    """
    report = api.data_audit(api.open_tables(data, name))
    return Result(report.to_json(), lambda: say("\n".join(report.lines())))


@app.command("import")
@command
def import_release(
    source: Annotated[
        str, typer.Argument(metavar="PATH", help="Release folder, .tgz, or the hub id hij/ravel.")
    ],
    entity_type: Annotated[str, typer.Option("--entity-type", help="The type to read.")],
    out: Out,
) -> Result:
    """Read a type of the official release and write it in our layout, every value to the byte.

    Featurizers of other tools are read by ravel import.

    Example: ravel data import data.tgz --entity-type occupation --out data/occupation
    """
    return _written(source, entity_type, "jsonl", out)


@app.command()
@command
def export(
    name: TypeName,
    out: Out,
    style: Annotated[
        str, typer.Option("--format", help="Of the files.", **choices(*TABLE_FORMATS))
    ] = "release",
    data: Data = BUNDLED,
) -> Result:
    """Write a type's data as the five JSON files of the official release, or in our layout.

    Featurizers are written for other tools by ravel export.

    Example: ravel data export city --format release --out city-release
    """
    one_of("export format", style, TABLE_FORMATS)
    return _written(data, name, style, out)


app.command("new")(new)
app.command("check")(check)


def _written(source: str, entity_type: str, style: str, out: Path) -> Result:
    tables = api.open_tables(source, entity_type)
    api.data_export(tables, style, out)
    summary = {
        "entity_type": tables.entity_type.name,
        "format": style,
        "out": str(out),
        "entities": len(tables.entities),
        "templates": len(tables.templates),
    }
    counts = f"{summary['entities']} entities and {summary['templates']} templates"
    return Result(summary, lambda: say(f"{counts} of {tables.entity_type.name} are in {out}."))
