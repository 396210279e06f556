"""`ravel list`: what can be named on the command line."""

from __future__ import annotations

from typing import Any

import typer

from evaluation import api
from evaluation.commands.flags import command
from evaluation.commands.printing import Result, print_rows

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help="What can be named: methods, tracks, models, entity types, controls, presets."
)


@app.command()
@command
def methods() -> Result:
    """List the methods, with what each needs and its settings.

    Example: ravel list methods
    """
    columns = {"method": "name", "summary": "summary", "learns from": "learns_from", "settings": "settings"}
    return _listed(api.list_methods(), columns)


@app.command()
@command
def tracks() -> Result:
    """List the tracks: what can be asked of a featurizer, with what is measured and by what is chosen.

    Example: ravel list tracks
    """
    columns = {name: name for name in ("summary", "measures", "criterion", "references", "settings")}
    return _listed(api.list_tracks(), {"track": "name", **columns})


@app.command()
@command
def models() -> Result:
    """List the model families; any hub id or folder of a causal model of these types will do.

    Example: ravel list models
    """
    return _listed(api.list_models(), {"family": "name", "model types": "model_types"})


@app.command("entity-types")
@command
def entity_types() -> Result:
    """List the entity types.

    Example: ravel list entity-types
    """
    columns = {"type": "name", "description": "description", "attributes": "attributes"}
    rows = [{name: row[name] for name in columns.values()} for row in api.list_entity_types()]
    return _listed(rows, columns)


@app.command()
@command
def controls() -> Result:
    """List the controls that must fail, with what each takes away and where its floor lies.

    Example: ravel list controls
    """
    return _listed(api.list_controls(), {"control": "name", "summary": "summary", "floors": "floors"})


@app.command()
@command
def presets() -> Result:
    """List the presets: suites with a name, and what they reproduce.

    Example: ravel list presets
    """
    columns = {"preset": "name", "summary": "summary", "model": "model", "published figures": "published"}
    return _listed(api.list_presets(), columns)


def _listed(rows: list[dict[str, Any]], columns: dict[str, str]) -> Result:
    cells = [[_text(row[key]) for key in columns.values()] for row in rows]
    return Result(rows, lambda: print_rows(list(columns), cells))


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={_text(part)}" for key, part in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)
