"""`ravel list`: what can be named on the command line."""

from __future__ import annotations

from typing import Any

import typer

from evaluation.commands._flags import Json
from evaluation.commands._output import print_json, print_rows
from ravel.entity_types import ENTITY_TYPES

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help="What can be named: methods, models, entity types, controls, presets."
)


@app.command()
def methods(as_json: Json = False) -> None:
    """List the methods, with what each needs and its settings.

    Example: ravel list methods
    """
    from evaluation.suite.catalogue import method_rows

    rows = method_rows()
    columns = {"method": "name", "summary": "summary", "learns from": "learns_from", "settings": "settings"}
    _print(rows, columns, as_json=as_json)


@app.command()
def models(as_json: Json = False) -> None:
    """List the model families; any hub id or folder of a causal model of these types will do.

    Example: ravel list models
    """
    from evaluation.suite.catalogue import model_rows

    rows = model_rows()
    _print(rows, {"family": "name", "model types": "model_types"}, as_json=as_json)


@app.command("entity-types")
def entity_types(as_json: Json = False) -> None:
    """List the entity types.

    Example: ravel list entity-types
    """
    rows = [
        {
            "name": entity_type.name,
            "description": entity_type.description,
            "attributes": [attribute.name for attribute in entity_type.attributes],
        }
        for entity_type in ENTITY_TYPES
    ]
    _print(rows, {"type": "name", "description": "description", "attributes": "attributes"}, as_json=as_json)


@app.command()
def controls(as_json: Json = False) -> None:
    """List the controls that must fail, with what each takes away and where its floor lies.

    Example: ravel list controls
    """
    from evaluation.suite.catalogue import control_rows

    rows = control_rows()
    _print(rows, {"control": "name", "summary": "summary", "floors": "floors"}, as_json=as_json)


@app.command()
def presets(as_json: Json = False) -> None:
    """List the presets: suites with a name, and what they reproduce.

    Example: ravel list presets
    """
    from evaluation.suite.catalogue import preset_rows

    rows = preset_rows()
    columns = {"preset": "name", "summary": "summary", "model": "model", "published figures": "published"}
    _print(rows, columns, as_json=as_json)


def _print(rows: list[dict[str, Any]], columns: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    print_rows(list(columns), [[_text(row[key]) for key in columns.values()] for row in rows])


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={_text(part)}" for key, part in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)
