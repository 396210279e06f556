"""`ravel planted`: worlds whose truth is known; make one, list them, score every method on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from evaluation import api
from evaluation.commands.flags import command
from evaluation.commands.printing import Result, keeping, print_rows, say, shown_progress
from evaluation.validity.planted.text import planted_markdown
from ravel.common.progress import counting

app = typer.Typer(no_args_is_help=True, help="Models in which the true subspace of each attribute is known.")


@app.command("list")
@command
def list_worlds() -> Result:
    """List the planted worlds that can be made by name.

    Example: ravel planted list
    """
    specs = list(api.planted_list().values())
    headers = ("world", "layout", "width", "blocks", "attributes", "hidden pathway")
    rows = [
        (
            spec.name,
            spec.layout,
            str(spec.width),
            str(spec.layers),
            ", ".join(f"{name} {len(spec.coordinates(name))}" for name in spec.attributes),
            "yes" if spec.hidden_pathway else "no",
        )
        for spec in specs
    ]
    described = [spec.model_dump(mode="json") for spec in specs]
    return Result(described, lambda: print_rows(headers, rows), by_line=True)


@app.command("make")
@command
def make(
    world: Annotated[
        str, typer.Argument(metavar="WORLD", help="A name of `ravel planted list`, or a YAML file.")
    ],
    out: Annotated[Path, typer.Option("--out", help="A new folder for model, facts and truth.")],
    unrotated: Annotated[
        bool, typer.Option("--unrotated", help="Leave every variable on axes of the vector.")
    ] = False,
    seed: Annotated[int | None, typer.Option("--seed", help="Root of every random stream.")] = None,
) -> Result:
    """Train a model in which attributes live in known subspaces, and save it with its facts and its truth.

    Example: ravel planted make small-disjoint --out worlds/small-disjoint
    """
    spec = api.open_spec(world, seed=seed, rotated=False if unrotated else None)
    with keeping("Nothing was written."), shown_progress() as progress:
        made = api.planted_make(spec, out, counting(progress, f"training {spec.name}"))

    def text() -> None:
        say(f"The planted world {spec.name} is in {out}; it loads like any model. Score it with:")
        say(f"  ravel planted score --world {out} --out RUN")

    return Result({"world": spec.name, "out": str(out), "fingerprint": made.target.fingerprint}, text)


@app.command("score")
@command
def score(
    out: Annotated[Path, typer.Option("--out", help="Folder for the runs; the same command goes on there.")],
    world: Annotated[
        list[str] | None,
        typer.Option(
            "--world",
            help="A folder, a name of `ravel planted list` or 'bundled', repeatable; with @axes behind it, "
            "the rotation is undone first. By default the bundled world, rotated and not.",
        ),
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option("--method", help="Only these, repeatable; by default every method.")
    ] = None,
    seed: Annotated[list[int] | None, typer.Option("--seed", help="A fit per seed, repeatable.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer methods.")] = False,
) -> Result:
    """Put every method's angle to the truth beside its score, and say whether the score orders them rightly.

    Example: ravel planted score --world bundled --world bundled@axes --out planted-run
    """
    request = api.PlantedRequest(
        methods=None if method is None else tuple(method),
        quick=quick,
        seeds=tuple(seed or (0,)),
    )
    if world:
        request = replace(request, worlds=tuple(world))
    kept = f"Finished cells are kept in {out}; the same command goes on from there."
    with keeping(kept), shown_progress() as progress:
        result = api.planted_score(request, out, progress=progress)

    def text() -> None:
        say(planted_markdown(result.rows, result.validity))
        say(f"Rows, correlations and this page are in {out}; each world's own tables and page lie below it.")

    records = {
        "rows": [row.to_json() for row in result.rows],
        "validity": [record.to_json() for record in result.validity],
    }
    return Result({"out": str(out), **records}, text)
