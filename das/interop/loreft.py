"""Subspaces of LoReFT interventions that pyreft saved; what LoReFT puts into them is not read.

LoReFT edits one vector, h + R^T (W h + b - R h) (Wu et al. 2024, arXiv 2404.03592), where an interchange
takes coordinates from another: h + R^T (R s - R h). They share the subspace, the rows of R, and that is what
is imported. W and b are checked and left out.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from das.featurizers.subspace import Subspace
from das.interop.foreign import Imported, StatedPlace, one_part
from das.interop.pyvene_config import CONFIG, listed_interventions, place_of
from das.interop.rotations import columns_of
from das.interop.torch_files import names_of, plain_state, plain_tensor, read_torch_file
from das.models.base import TargetModel
from ravel.common.errors import SuiteError

_KINDS = ("LoreftIntervention",)


def read_loreft(
    path: Path, *, layer: int = 0, part: str | None = None, target: TargetModel | None = None
) -> Imported:
    """Return the subspace of a LoReFT intervention: a folder that pyreft saved, or one of its `.bin` files.

    pyreft stores R transposed, [d_model, r] with orthonormal columns, under `rotate_layer`, and W and b as
    `weight` [r, d_model] and `bias` [r]. In `target` a component that is a module's path is looked up.
    Raises SuiteError for damaged or pickled files, other interventions, components that are no site, and
    shapes that do not fit together.
    """
    if not path.is_dir():
        return _read_weights(path, StatedPlace())
    listed = {intervention.name: intervention for intervention in listed_interventions(path)}
    layers = {name: intervention.place.layer for name, intervention in listed.items()}
    name, intervention = one_part(listed, layers, path / CONFIG, part=part, layer=layer)
    if intervention.kind not in _KINDS:
        raise SuiteError(
            expected=f"a {_KINDS[0]} in {path}",
            came=names_of([intervention.kind]),
            todo="read what is none of pyreft's with --format pyvene",
        )
    place, unchecked = place_of(intervention, path / CONFIG, target)
    read = _read_weights(path / f"intkey_{name}.bin", place)
    return replace(read, notes=(*unchecked, *read.notes))


def _read_weights(path: Path, place: StatedPlace) -> Imported:
    state = plain_state(read_torch_file(path), path)
    # Some versions of pyreft and tools beside it keep the names of the layers.
    prefix = "learned_source." if "learned_source.weight" in state else ""
    name = "rotate_layer" if "rotate_layer" in state else "rotate_layer.weight"
    matrix = plain_tensor(state, name, path, shape=(None, None))
    columns = columns_of(matrix, path, orientation="columns")
    width, rank = columns.basis.shape
    plain_tensor(state, f"{prefix}weight", path, shape=(rank, width))
    plain_tensor(state, f"{prefix}bias", path, shape=(rank,))
    note = (
        "Only the subspace was imported. LoReFT writes W h + b into it, made from the base alone; W and b "
        "are left out, for an interchange writes what the source has there."
    )
    return Imported(Subspace(columns.basis), "a LoReFT subspace", place, (*columns.notes, note))
