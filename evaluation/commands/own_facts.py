"""`ravel data new` and `ravel data check`: facts of one's own, begun from a CSV file and checked."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from evaluation import api
from evaluation.commands.flags import command
from evaluation.commands.printing import Result, say
from ravel.terms.schema import PARTITIONS

_PROBLEMS = 2


@command
def new(
    name: Annotated[str, typer.Argument(metavar="TYPE", help="What the entities are, such as product.")],
    csv: Annotated[
        Path, typer.Option("--csv", help="A header, then a row per entity; a column per attribute.")
    ],
    entity_column: Annotated[
        str | None, typer.Option("--entity-column", help="The column of names; by default the first.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="A new folder; by default called as the type.")
    ] = None,
) -> Result:
    """Begin facts of your own: a CSV file becomes a declaration, partitions, and templates to rewrite.

    Example: ravel data new product --csv products.csv --entity-column name
    """
    started = api.data_new(name, csv, Path(name) if out is None else out, entity_column=entity_column)
    tables, folder = started.tables, started.folder
    matchers = {a.name: type(a.matcher).__name__ for a in tables.entity_type.attributes}
    cut = {part: sum(facts.partition == part for facts in tables.entities) for part in PARTITIONS}
    summary = {
        "entity_type": name,
        "out": str(folder),
        "plugin": str(started.plugin),
        "entities": cut,
        "templates": len(tables.templates),
        "attributes": matchers,
    }

    def text() -> None:
        counts = ", ".join(f"{number} {partition}" for partition, number in cut.items())
        say(
            f"{folder} holds {counts} entities, {len(tables.templates)} templates, and {started.plugin.name}:"
        )
        for attribute, matcher in matchers.items():
            say(f"  {attribute}: {matcher}")
        say("Rewrite the templates until a reader would go on with the value, and check as you go:")
        say(f"  ravel data check {folder}")
        say("Then:")
        say(f"  ravel --plugin {started.plugin} build --model MODEL --entity-type {name} --data {folder} ...")

    return Result(summary, text)


@command
def check(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="As `ravel data new` wrote it.")],
    entity_type: Annotated[
        str | None,
        typer.Option("--entity-type", help="A known type; by default the one declared in the folder."),
    ] = None,
) -> Result:
    """Check facts of your own, every fault at once with file and line; exit with 2 if there is any.

    Example: ravel data check product
    """
    found = api.data_check(folder, entity_type)

    def text() -> None:
        for note in found.notes:
            say(note)
        counts = f"{found.entities} entities and {found.templates} templates of {found.entity_type}"
        say(f"{counts} in {folder}: {f'{len(found.faults)} faults' if found.faults else 'sound'}")

    return Result(asdict(found), text, warnings=found.faults, exit_code=_PROBLEMS if found.faults else 0)
