"""Weight files of RAVEL's reference code (explanare/ravel), as featurizers of the suite. Its layers are
`torch.nn.Linear`, so that directions are the *rows* of what it stores, [k, d_model]; its own loader turns a
matrix round that has more rows than columns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from das.featurizers.masked import MaskedBasis
from das.featurizers.subspace import Subspace
from das.interop.foreign import Imported, StatedPlace, one_part
from das.interop.rotations import Orientation, columns_of, stored_weight
from das.interop.torch_files import plain_state, plain_tensor, read_torch_file, unfit
from das.sites import Stream

_KEY = re.compile(r"layer[._](\d{1,6})[._]comp[._](\w+?)[._]unit")
_WEIGHTS = ("weight", "parametrizations.weight.original")
_ONLY = "weights"
"""What the one part of a file without keys is called."""


def read_ravel_reference(
    path: Path, *, layer: int = 0, part: str | None = None, orientation: Orientation = "auto"
) -> Imported:
    """Return the featurizer of a `.pt` file: a matrix, a state dict, or either of them per intervention key.

    A rotation (distributed alignment search, or any orthonormal projection) becomes a `Subspace`. A mask
    (differential binary masking) becomes a hard `MaskedBasis` of the neurons that the reference swaps when
    it evaluates: those of its `rotate_layer`, or without one those whose mask is above 0. A square matrix
    is read as rows unless `orientation` says otherwise. Raises SuiteError for damaged files, pickled
    modules, and matrices that are not orthonormal.
    """
    content = read_torch_file(path)
    parts = _parts(content, path)
    layers = {name: _layer_of(name) for name in parts}
    name, state = one_part(parts, layers, path, part=part, layer=layer)
    match = _KEY.search(name)
    stream: Stream | None = "block_output" if match is not None and match[2] == "block_output" else None
    place = StatedPlace(layers[name], stream)
    if "mask" in state:
        return _of_mask(state, path, place)
    prefix = next(
        (p for p in ("", "rotate_layer.") if any(p + w in state for w in _WEIGHTS)), "rotate_layer."
    )
    columns = columns_of(stored_weight(state, prefix, path), path, orientation=orientation, square="rows")
    form = f"a rotation, stored as {columns.orientation}"
    return Imported(Subspace(columns.basis), form, place, columns.notes)


def _layer_of(name: str) -> int | None:
    match = _KEY.search(name)
    return None if match is None else int(match[1])


def _parts(content: Any, path: Path) -> dict[str, dict[str, Any]]:
    """Return state dicts by intervention key; a bare matrix counts as the `weight` of one."""
    if isinstance(content, Tensor):
        return {_ONLY: {"weight": content}}
    entries = plain_state(content, path)
    if not entries:
        raise unfit(f"weights in {path}", "an empty mapping", "name the file that holds the weights")
    if all(isinstance(value, Mapping) for value in entries.values()):
        return {name: plain_state(value, path) for name, value in entries.items()}
    if all(_KEY.search(name) and isinstance(value, Tensor) for name, value in entries.items()):
        return {name: {"weight": value} for name, value in entries.items()}
    return {_ONLY: entries}


def _of_mask(state: Mapping[str, Any], path: Path, place: StatedPlace) -> Imported:
    mask = plain_tensor(state, "mask", path, shape=(None,))
    above = mask > 0
    if "rotate_layer.weight" not in state:
        note = "Neurons whose mask is above 0 are swapped; the file has no rotate_layer to compare with."
        return Imported(MaskedBasis(above.float()), "a mask over neurons", place, (note,))
    width = mask.shape[0]
    rows = plain_tensor(state, "rotate_layer.weight", path, shape=(None, width))
    unit_rows = bool(((rows == 0) | (rows == 1)).all()) and bool((rows.sum(dim=1) == 1).all())
    swapped = rows.sum(dim=0)
    if not unit_rows or bool((swapped > 1).any()):
        expected = f"rows of the unit matrix, each once, in 'rotate_layer.weight' of {path}, beside a mask"
        raise unfit(expected, "other rows")
    notes: tuple[str, ...] = ()
    if not torch.equal(swapped > 0, above):
        notes = (
            f"The {int(swapped.sum())} neurons of rotate_layer are swapped, as the reference does when it "
            f"evaluates; {int(above.sum())} have a mask above 0. Until one has, it is the whole unit "
            "matrix.",
        )
    return Imported(MaskedBasis(swapped.float()), "a mask over neurons", place, notes)
