"""`ravel list`: what can be named on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from evaluation.commands._flags import Json
from evaluation.commands._output import print_json, print_rows
from ravel.entity_types import ENTITY_TYPES

if TYPE_CHECKING:
    from das.methods.base import Method

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help="What can be named: methods, models, entity types, controls, presets."
)


@app.command()
def methods(as_json: Json = False) -> None:
    """List the methods, with what each needs and its settings.

    Example: ravel list methods
    """
    from evaluation.methods import METHODS

    rows = [
        {
            "name": method.name,
            "summary": method.summary,
            "needs_attribute": method.needs_attribute,
            "needs_size": method.needs_size,
            "needs_labels": method.needs_labels,
            "needs_pairs": method.needs_pairs,
            "learns_from": _learns_from(method),
            "settings": method.config_class().model_dump(mode="json"),
        }
        for method in METHODS
    ]
    _print(
        rows,
        {"method": "name", "summary": "summary", "learns from": "learns_from", "settings": "settings"},
        as_json=as_json,
    )


def _learns_from(method: type[Method]) -> str:
    parts = [("class labels", method.needs_labels), ("pairs", method.needs_pairs)]
    return " and ".join(name for name, needed in parts if needed) or "neither"


@app.command()
def models(as_json: Json = False) -> None:
    """List the model families; any hub id or folder of a causal model of these types will do.

    Example: ravel list models
    """
    from das.models import FAMILIES

    rows = [{"name": family.name, "model_types": list(family.model_types)} for family in FAMILIES]
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
    from evaluation.controls import CONTROLS

    rows = [
        {
            "name": control.name,
            "summary": control.summary,
            "fits_again": control.refits,
            "floors": {view.name: view.floor_is for view in control.views},
        }
        for control in CONTROLS
    ]
    _print(rows, {"control": "name", "summary": "summary", "floors": "floors"}, as_json=as_json)


@app.command()
def presets(as_json: Json = False) -> None:
    """List the presets: suites with a name, and what they reproduce.

    Example: ravel list presets
    """
    from evaluation.preset import preset_named, preset_names

    rows = [
        {
            "name": name,
            "summary": preset.summary,
            "model": preset.suite_config("").model,
            "published": len(preset.published),
            "source": preset.source,
        }
        for name, preset in ((name, preset_named(name)) for name in preset_names())
    ]
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
