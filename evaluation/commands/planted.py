"""`ravel planted`: worlds whose truth is known; make one, list them, score every method on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluation.commands._flags import Json
from evaluation.commands._output import keeping, print_json, print_json_lines, print_rows, say, shown_progress

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Models in which the true subspace of each attribute is known.")


@app.command("list")
def list_worlds(as_json: Json = False) -> None:
    """List the planted worlds that can be made by name.

    Example: ravel planted list
    """
    from das.models.planted.spec import planted_specs

    specs = list(planted_specs().values())
    if as_json:
        print_json_lines([spec.model_dump(mode="json") for spec in specs])
        return
    print_rows(
        ("world", "layout", "width", "blocks", "attributes", "hidden pathway"),
        [
            (
                spec.name,
                spec.layout,
                str(spec.width),
                str(spec.layers),
                ", ".join(f"{name} {len(spec.coordinates(name))}" for name in spec.attributes),
                "yes" if spec.hidden_pathway else "no",
            )
            for spec in specs
        ],
    )


@app.command("make")
def make(
    world: Annotated[
        str, typer.Argument(metavar="WORLD", help="A name of `ravel planted list`, or a YAML file.")
    ],
    out: Annotated[Path, typer.Option("--out", help="A new folder for model, facts and truth.")],
    unrotated: Annotated[
        bool, typer.Option("--unrotated", help="Leave every variable on axes of the vector.")
    ] = False,
    seed: Annotated[int | None, typer.Option("--seed", help="Root of every random stream.")] = None,
    as_json: Json = False,
) -> None:
    """Train a model in which attributes live in known subspaces, and save it with its facts and its truth.

    Example: ravel planted make small-disjoint --out worlds/small-disjoint
    """
    from das.models.planted import make_world_folder, open_spec

    spec = open_spec(world, seed=seed, rotated=False if unrotated else None)
    with keeping("Nothing was written."), shown_progress() as progress:
        made = make_world_folder(
            spec, out, lambda done, total: progress(f"training {spec.name}", done, total)
        )
    if as_json:
        print_json({"world": spec.name, "out": str(out), "fingerprint": made.target.fingerprint})
        return
    say(f"The planted world {spec.name} is in {out}; it loads like any model. Score it with:")
    say(f"  ravel planted score --world {out} --out RUN")


@app.command("score")
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
    as_json: Json = False,
) -> None:
    """Put every method's angle to the truth beside its score, and say whether the score orders them rightly.

    Example: ravel planted score --world bundled --world bundled@axes --out planted-run
    """
    from evaluation.validity.planted.score import BUNDLED_TWICE, PlantedRequest, score_planted
    from evaluation.validity.planted.text import planted_markdown

    request = PlantedRequest(
        worlds=tuple(world or BUNDLED_TWICE),
        methods=None if method is None else tuple(method),
        quick=quick,
        seeds=tuple(seed or (0,)),
    )
    kept = f"Finished cells are kept in {out}; the same command goes on from there."
    with keeping(kept), shown_progress() as progress:
        result = score_planted(request, out, progress=progress)
    if as_json:
        print_json(
            {
                "out": str(out),
                "rows": [row.to_json() for row in result.rows],
                "validity": [record.to_json() for record in result.validity],
            }
        )
        return
    say(planted_markdown(result.rows, result.validity))
    say(f"Rows, correlations and this page are in {out}; each world's own tables and page lie below it.")
