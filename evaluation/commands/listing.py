"""`ravel list`: what can be named on the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import typer

from evaluation import api
from evaluation.commands.flags import command
from evaluation.commands.printing import Result, print_rows, say
from evaluation.commands.printing.lines import as_text, described
from ravel.common.errors import one_of

_HELP = "What can be named: methods, tracks, models, entity types, controls, presets, tasks."
app = typer.Typer(no_args_is_help=True, help=_HELP)

_Rows = Sequence[Mapping[str, Any]]
_Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show all that is known of this one.")]


@app.command()
@command
def methods(name: _Name = None) -> Result:
    """List the methods; with a name, what it needs, what it learns from and its settings.

    Example: ravel list methods mdas
    """
    return _lines_first("method", api.list_method_lines(), api.list_methods, name)


@app.command()
@command
def tracks(name: _Name = None) -> Result:
    """List the tracks: what can be asked of a featurizer; with a name, what it measures and chooses by.

    Example: ravel list tracks interchange
    """
    return _listed("track", api.list_tracks(), name)


@app.command()
@command
def models() -> Result:
    """List the model families; any hub id or folder of a causal model of these types will do.

    Example: ravel list models
    """
    rows = api.list_models()
    lines = [[row["name"], as_text(row["model_types"])] for row in rows]
    return Result(rows, lambda: print_rows(["family", "model types"], lines))


@app.command("entity-types")
@command
def entity_types(name: _Name = None) -> Result:
    """List the entity types; with a name, its attributes.

    Example: ravel list entity-types city
    """
    keys = ("name", "description", "attributes")
    rows = [{key: row[key] for key in keys} for row in api.list_entity_types()]
    return _listed("entity type", rows, name, summary="description")


@app.command()
@command
def controls(name: _Name = None) -> Result:
    """List the controls that must fail; with a name, where its floors lie.

    Example: ravel list controls labels_shuffled
    """
    return _lines_first("control", api.list_control_lines(), api.list_controls, name)


@app.command()
@command
def presets(name: _Name = None) -> Result:
    """List the presets: suites with a name; with a name, its model and what it reproduces.

    Example: ravel list presets llama-2-7b-paper
    """
    return _lines_first("preset", api.list_preset_lines(), api.list_presets, name)


@app.command()
@command
def tasks(name: _Name = None) -> Result:
    """List the versioned tasks that anybody can enter; with a name, what it fixes, by hash.

    Example: ravel list tasks city-lite-v1
    """
    return _listed("task", api.list_tasks(), name)


def _lines_first(kind: str, lines: _Rows, rows: Callable[[], _Rows], name: str | None) -> Result:
    """Return the listing of lines that are at hand at once, or all that is known of one, which takes longer;
    so too for JSON."""
    if name is None:
        return replace(_listed(kind, lines, None), json=rows)
    one_of(kind, name, [line["name"] for line in lines])
    return _listed(kind, rows(), name)


def _listed(kind: str, rows: _Rows, name: str | None, *, summary: str = "summary") -> Result:
    """Return the listing of all, a line each, or all that is known of one."""
    if name is None:
        lines = [[row["name"], row[summary]] for row in rows]
        return Result(rows, lambda: print_rows([kind, summary], lines))
    found = next(row for row in rows if row["name"] == one_of(kind, name, [row["name"] for row in rows]))
    return Result(found, lambda: say("\n".join(described(found))))
