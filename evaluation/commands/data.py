"""`ravel data`: what facts and templates there are, what to know of them, and moving them between formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluation.commands._flags import Data, Json, one_of
from evaluation.commands._output import print_json, print_rows, say
from ravel.checking.audit import audit_tables
from ravel.facts.overview import TABLE_FORMATS, describe_tables, entity_type_rows, export_tables
from ravel.facts.sources import BUNDLED, open_tables
from ravel.facts.tables import Tables
from ravel.terms.schema import PARTITIONS

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Facts and templates: list, show, audit, import, export.")

TypeName = Annotated[str, typer.Argument(metavar="TYPE", help="An entity type, as in `ravel data list`.")]
Out = Annotated[Path, typer.Option("--out", help="A new folder.")]


@app.command("list")
def list_types(as_json: Json = False) -> None:
    """List the entity types, and how much data is bundled for each.

    Example: ravel data list
    """
    rows = entity_type_rows()
    if as_json:
        print_json(rows)
        return
    print_rows(
        ["type", "bundled", "in the release", "attributes"],
        [
            [
                row["name"],
                f"{row['entities']} entities, {row['templates']} templates" if row["bundled"] else "no",
                "yes" if row["release"] else "no",
                ", ".join(row["attributes"]),
            ]
            for row in rows
        ],
    )


@app.command()
def show(name: TypeName, data: Data = BUNDLED, as_json: Json = False) -> None:
    """Show a type: its attributes, how much there is in each partition, an example of everything.

    Example: ravel data show city
    """
    shown = describe_tables(open_tables(data, name))
    if as_json:
        print_json(shown)
        return
    say(f"{shown['name']}: {shown['description']}")
    say(f"licence: {shown['licence']}")
    say(f"entities: {_partitions(shown['entities'])}; for example {shown['example_entity']}")
    say(f"attribute-free texts: {_partitions(shown['attribute_free'])}")
    print_rows(
        ["attribute", "values", "templates", "example value", "example template"],
        [
            [
                a["name"],
                a["distinct_values"],
                _partitions(a["templates"]),
                a["example"],
                a["example_template"],
            ]
            for a in shown["attributes"]
        ],
    )


def _partitions(counts: dict[str, int]) -> str:
    return f"{sum(counts.values())} ({'/'.join(str(counts[p]) for p in PARTITIONS)})"


@app.command()
def audit(name: TypeName, data: Data = BUNDLED, as_json: Json = False) -> None:
    """Report what to know of the data before believing a score: counts, skew, dependence, odd spots.

    Example: ravel data audit city --data path/to/data.tgz
    """
    report = audit_tables(open_tables(data, name))
    if as_json:
        print_json(report.to_json())
        return
    for line in report.lines():
        say(line)


@app.command("import")
def import_release(
    source: Annotated[
        str, typer.Argument(metavar="PATH", help="Release folder, .tgz, or the hub id hij/ravel.")
    ],
    entity_type: Annotated[str, typer.Option("--entity-type", help="The type to read.")],
    out: Out,
    as_json: Json = False,
) -> None:
    """Read a type of the official release and write it in our layout, every value to the byte.

    Featurizers of other tools are read by ravel import.

    Example: ravel data import data.tgz --entity-type occupation --out data/occupation
    """
    _write(open_tables(source, entity_type), "jsonl", out, as_json=as_json)


@app.command()
def export(
    name: TypeName,
    out: Out,
    style: Annotated[str, typer.Option("--format", help="release or jsonl.")] = "release",
    data: Data = BUNDLED,
    as_json: Json = False,
) -> None:
    """Write a type's data as the five JSON files of the official release, or in our layout.

    Featurizers are written for other tools by ravel export.

    Example: ravel data export city --format release --out city-release
    """
    one_of("export format", style, TABLE_FORMATS)
    _write(open_tables(data, name), style, out, as_json=as_json)


def _write(tables: Tables, style: str, out: Path, *, as_json: bool) -> None:
    export_tables(tables, style, out)
    summary = {
        "entity_type": tables.entity_type.name,
        "format": style,
        "out": str(out),
        "entities": len(tables.entities),
        "templates": len(tables.templates),
    }
    if as_json:
        print_json(summary)
        return
    say(
        f"{summary['entities']} entities and {summary['templates']} templates of {tables.entity_type.name} "
        f"are in {out}."
    )
