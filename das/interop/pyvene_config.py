"""What the config of a folder that pyvene saved says: which interventions there are, and where they act."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from das.interop.foreign import StatedPlace
from das.interop.module_paths import ModulePath, place_of_path
from das.interop.torch_files import names_of, read_settings
from das.models.base import TargetModel
from das.sites import Stream
from ravel.common.errors import SuiteError

CONFIG = "config.json"
_STREAMS: Mapping[str, Stream] = {
    "block_output": "block_output",
    "attention_output": "attention_output",
    "mlp_output": "mlp_output",
    "head_attention_value_output": "head_output",
}
_BLOCK_INPUT = "block_input"
_FIELDS = ("layer", "component", "unit", "max_number_of_units")


@dataclass(frozen=True, slots=True)
class Listed:
    """An intervention as the folder's config lists it."""

    name: str
    """Its key, which is in the name of its file too."""
    kind: str
    """Its class, without the module."""
    component: str
    """Where it acts: a name of pyvene's, or a module's path."""
    place: StatedPlace
    """Layer and stream, as far as the config's own words tell."""
    swapped: Any
    """What the config says of `interchange_dim`; None in old folders."""
    partitioned: bool
    """Whether a partition is there, of which the caller of pyvene chooses parts."""


def listed_interventions(folder: Path) -> list[Listed]:
    """Return what the config of a folder lists. Raises SuiteError if it is none of pyvene's, or damaged."""
    path = folder / CONFIG
    config = read_settings(path)
    representations, types = config.get("representations"), config.get("intervention_types")
    if not isinstance(representations, list) or not isinstance(types, list) or not representations:
        raise _damaged(path, "no lists `representations` and `intervention_types`")
    keys = config.get("sorted_keys")
    dims = config.get("intervention_dimensions") or [None] * len(types)
    if not isinstance(keys, list) or not isinstance(dims, list):
        raise _damaged(path, "no list `sorted_keys`, or dimensions that are none")
    if not len(representations) == len(types) == len(keys) == len(dims) == len(set(map(str, keys))):
        raise _damaged(path, "lists of different lengths, or a key twice")
    rows = zip(representations, types, keys, dims, strict=True)
    return [_listed(path, *row) for row in rows]


def _listed(path: Path, representation: Any, kind: Any, key: Any, swapped: Any) -> Listed:
    if not isinstance(kind, str) or not isinstance(key, str) or not key.isprintable() or "/" in key:
        raise _damaged(path, "a type or key that is no plain name")
    row = _row(representation, path)
    layer, component, unit = row["layer"], row["component"], row["unit"]
    if not isinstance(component, str) or not isinstance(unit, str):
        raise _damaged(path, "a component or unit that is no text")
    if row["max_number_of_units"] != 1:
        raise SuiteError(
            expected=f"an intervention on one token in {path}",
            came=f"one on {names_of([row['max_number_of_units']])}",
            todo="name a folder with max_number_of_units 1: a site of the suite is one vector",
        )
    name = kind.removeprefix("<class '").removesuffix("'>").rsplit(".", 1)[-1]
    place = _stated(component, layer)
    return Listed(key, name, component, place, swapped, row.get("subspace_partition") is not None)


def _stated(component: str, layer: Any) -> StatedPlace:
    """Return what the config's words say; pyvene looks at the layer only where the component is a name."""
    path = ModulePath.parse(component)
    if path is not None:
        return path.place()
    number = layer if type(layer) is int else None
    if component == _BLOCK_INPUT:
        # What goes into a block is what the one before it leaves.
        return StatedPlace(number - 1, "block_output") if number else StatedPlace()
    stream = _STREAMS.get(component)
    return StatedPlace(None if stream is None else number, stream)


def place_of(listed: Listed, path: Path, target: TargetModel | None) -> tuple[StatedPlace, tuple[str, ...]]:
    """Return where a listed intervention acts, with a note on what could not be checked; in `target` a
    module's path is looked up. Raises SuiteError, with the config's `path`, for what is no site."""
    module = ModulePath.parse(listed.component)
    if module is not None:
        return place_of_path(module, target)
    if listed.place.stream is None:
        raise SuiteError(
            expected=f"an intervention on one of {', '.join([*_STREAMS, _BLOCK_INPUT])} in {path}",
            came=f"one on {names_of([listed.component])}",
            todo="name a folder that was made for one of these; the suite has no site for others",
        )
    return listed.place, ()


def _row(representation: Any, path: Path) -> dict[str, Any]:
    if isinstance(representation, list) and len(representation) >= len(_FIELDS):
        # A named tuple as a list; the partition stands in the eighth place.
        partition = representation[7] if len(representation) > 7 else None
        return {**dict(zip(_FIELDS, representation[:4], strict=True)), "subspace_partition": partition}
    if isinstance(representation, dict) and {"layer", "component"} <= representation.keys():
        return {"unit": "pos", "max_number_of_units": 1, **representation}
    raise _damaged(path, "a representation that is neither a list nor an object of pyvene's")


def _damaged(path: Path, came: str) -> SuiteError:
    return SuiteError(
        expected=f"the config of an intervention that pyvene saved, at {path}",
        came=came,
        todo="name a folder that pyvene's IntervenableModel.save wrote",
    )
