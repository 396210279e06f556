"""Featurizers in the form of MIB's causal-variable track (CausalAbstraction's `save_modules`), to and fro. A
unit is three files: `_featurizer`, `_inverse_featurizer` and `_indices`. Rotations are stored as [d_model, k]
with orthonormal *columns*; what a rotation loses is added back, as here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from das.featurizers.base import Featurizer
from das.featurizers.masked import MaskedBasis
from das.featurizers.subspace import Subspace
from das.interop.foreign import Imported, StatedPlace, one_part
from das.interop.rotations import Columns, columns_of, parametrised_state, stored_weight
from das.interop.torch_files import (
    names_of,
    plain_state,
    plain_tensor,
    read_torch_file,
    unfit,
    write_torch_file,
)
from das.sites import Position, Site, Stream
from ravel.common.errors import SuiteError
from ravel.common.io import read_json, write_text

_TOKENS: dict[Position, str] = {"entity_last": "entity_last_token", "prompt_last": "last_token"}
_UNIT = re.compile(
    r"(?P<kind>ResidualStream|AttentionHead)\(Layer[:-](?P<layer>-?\d{1,6}),"
    r"(?:(?P<component>block_input|block_output),)?(?:Head[:-](?P<head>\d{1,6}),)?Token[:-](?P<token>.*)\)"
)
_SUFFIX = "_featurizer"
_INVERSE = "_inverse_featurizer"
_ROTATION, _IDENTITY = "SubspaceFeaturizerModule", "IdentityFeaturizerModule"
_INVERSES = {_ROTATION: "SubspaceInverseFeaturizerModule", _IDENTITY: "IdentityInverseFeaturizerModule"}


# --- out


class _Triple(NamedTuple):
    """What the three files hold: of a class of featurizing modules orthonormal columns [d_model, k], how many
    coordinates, and which of them are swapped; None for all."""

    kind: str
    rotation: Tensor | None
    n_features: int
    indices: list[int] | None


def unit_name(site: Site) -> str:
    """Return MIB's name of a site. Raises SuiteError for streams that its track has no units for."""
    token = _TOKENS[site.position]
    if site.stream == "block_output":
        return f"ResidualStream(Layer:{site.layer},Token:{token})"
    if site.stream == "head_output":
        return f"AttentionHead(Layer:{site.layer},Head:{site.head},Token:{token})"
    raise SuiteError(
        expected="a residual stream (block_output) or an attention head (head_output), the units of MIB",
        came=str(site),
        todo="keep the featurizer in the suite's own form",
    )


def export_mib(featurizer: Featurizer, site: Site, folder: Path) -> str:
    """Write the three files of a featurizer into `folder`; return MIB's name of the unit. Equal featurizers
    give equal bytes. Raises SuiteError for soft masks, dictionaries (MIB loads those by their release),
    oblique subspaces, empty choices, and streams without a unit."""
    name, triple = unit_name(site), _triple(featurizer)
    extra: dict[str, Any] = {}
    state: dict[str, Tensor] = {}
    if triple.rotation is not None:
        extra = {"rotation_matrix": triple.rotation.clone(), "requires_grad": False}
        state = {f"rotate.{key}": value for key, value in parametrised_state(triple.rotation).items()}
    info = {
        "featurizer_class": triple.kind,
        "inverse_featurizer_class": _INVERSES[triple.kind],
        "n_features": triple.n_features,
        "featurizer_id": "subspace" if triple.rotation is not None else "null",
        "additional_config": extra,
    }
    for suffix in (_SUFFIX, _INVERSE):
        write_torch_file(folder / f"{name}{suffix}", {"model_info": info, "state_dict": state})
    # The track's verifier reads the first line as a Python literal, so the list stands on one.
    text = "null" if triple.indices is None else f"[{', '.join(map(str, triple.indices))}]"
    write_text(folder / f"{name}_indices", text)
    return name


def _triple(featurizer: Featurizer) -> _Triple:
    if isinstance(featurizer, Subspace) and featurizer.reader is None and featurizer.size:
        return _Triple(_ROTATION, featurizer.basis, featurizer.size, None)
    if isinstance(featurizer, MaskedBasis):
        weights = featurizer.weights
        hard = bool(((weights == 0) | (weights == 1)).all())
        if hard and featurizer.size:
            chosen = None if featurizer.size == featurizer.width else (weights == 1).nonzero()[:, 0].tolist()
            kind = _IDENTITY if featurizer.basis is None else _ROTATION
            return _Triple(kind, featurizer.basis, featurizer.width, chosen)
    raise SuiteError(
        expected="a subspace with orthonormal columns or a hard mask that swaps something, for MIB's files",
        came=_words(featurizer),
        todo="keep the featurizer in the suite's own form; MIB loads autoencoders by their release and has "
        "no soft masks",
    )


def _words(featurizer: Featurizer) -> str:
    if isinstance(featurizer, Subspace) and featurizer.reader is not None:
        return "a subspace that is read along other directions than it is written"
    if not isinstance(featurizer, Subspace | MaskedBasis):
        return f"a {featurizer.kind}"
    return f"a {featurizer.kind} with {'a soft mask' if featurizer.size else 'nothing to swap'}"


# --- in


def read_mib(path: Path, *, width: int | None = None, layer: int = 0, part: str | None = None) -> Imported:
    """Return the featurizer of a unit: `path` is a folder of units, or one of a unit's three files.

    `width` is the length of the vectors, which an identity may not store; `layer` and `part` (the unit's
    name) choose among several units. Raises SuiteError for damaged or pickled files, other classes, and
    indices that do not fit.
    """
    folder, name = _unit_at(path, layer, part)
    origin = folder / f"{name}{_SUFFIX}"
    kind, info, state = _module(origin, "featurizer_class")
    inverse, _, inverse_state = _module(folder / f"{name}{_INVERSE}", "inverse_featurizer_class")
    if kind not in _INVERSES or inverse != _INVERSES[kind]:
        raise SuiteError(
            expected=f"{_ROTATION} or {_IDENTITY} with its inverse in {origin}",
            came=names_of([kind, inverse]),
            todo="name a unit of MIB's own kinds; other classes are code, which is not run",
        )
    indices = _indices(folder / f"{name}_indices")
    place = _place(name, origin)
    if kind == _IDENTITY:
        size = width if width is not None else info.get("n_features")
        mask = _mask(indices, size, origin)
        return Imported(MaskedBasis(mask), kind, place)
    columns = _rotation(info, state, origin)
    other = stored_weight(inverse_state, "rotate.", origin)
    if other.shape != columns.basis.shape or float((other - columns.basis).abs().max()) > 1e-3:
        raise unfit(f"the same rotation in both files of {name}", "two different ones")
    return Imported(_swapped_columns(columns.basis, indices, origin), kind, place, columns.notes)


def _unit_at(path: Path, layer: int, part: str | None) -> tuple[Path, str]:
    if not path.is_dir():
        name = re.sub(r"_(inverse_featurizer|featurizer|indices)$", "", path.name)
        return path.parent, name
    try:
        files = sorted(entry.name for entry in path.iterdir())
    except OSError as error:
        raise SuiteError(
            expected=f"a readable folder at {path}", came=error.strerror or str(error), todo="check the path"
        ) from None
    names = [
        file.removesuffix(_SUFFIX) for file in files if file.endswith(_SUFFIX) and not file.endswith(_INVERSE)
    ]
    layers = {name: _place(name, path).layer for name in names}
    return path, one_part({name: name for name in names}, layers, path, part=part, layer=layer)[0]


def _place(name: str, origin: Path) -> StatedPlace:
    match = _UNIT.fullmatch(name)
    if match is None:
        return StatedPlace()
    layer = int(match["layer"])
    if layer < 0 or match["component"] == "block_input":
        raise SuiteError(
            expected=f"a unit after a block in {origin}",
            came=f"{name}, which is before the first one",
            todo="no site of the suite is there",
        )
    stream: Stream = "block_output" if match["kind"] == "ResidualStream" else "head_output"
    head = None if match["head"] is None else int(match["head"])
    position = next((p for p, token in _TOKENS.items() if token == match["token"]), None)
    return StatedPlace(layer, stream, head, position)


def _module(path: Path, wanted: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    content = plain_state(read_torch_file(path), path)
    info, state = content.get("model_info"), content.get("state_dict")
    if not isinstance(info, dict) or not isinstance(info.get(wanted), str):
        raise SuiteError(
            expected=f"'model_info' with {wanted!r}, and 'state_dict', in {path}",
            came=f"only {names_of(content)}",
            todo="name a unit that CausalAbstraction's save_modules wrote",
        )
    return info[wanted], info, plain_state(state, path)


def _rotation(info: dict[str, Any], state: dict[str, Any], origin: Path) -> Columns:
    columns = columns_of(stored_weight(state, "rotate.", origin), origin, orientation="columns")
    extra = info.get("additional_config")
    if isinstance(extra, dict) and "rotation_matrix" in extra:
        stated = plain_tensor(extra, "rotation_matrix", origin, shape=tuple(columns.basis.shape))
        if float((stated - columns.basis).abs().max()) > 1e-2:
            raise unfit(f"the rotation of the state dict as rotation_matrix in {origin}", "another one")
    return columns


def _indices(path: Path) -> list[int] | None:
    places = read_json(path)
    if places is None:
        return None
    if not isinstance(places, list) or not all(type(place) is int for place in places):
        raise unfit(f"a list of whole numbers, or null, in {path}", f"a {type(places).__name__}")
    return places


def _mask(indices: list[int] | None, size: Any, origin: Path) -> Tensor:
    if type(size) is not int or not 1 <= size <= 1 << 20:
        todo = "name the model that it was made for"
        raise unfit(f"the number of features in {origin}", repr(size)[:80], todo)
    if indices is None:
        return torch.ones(size)
    if not all(0 <= place < size for place in indices) or len(set(indices)) != len(indices):
        raise unfit(f"indices from 0 to {size - 1}, each once, beside {origin}", str(indices)[:80])
    mask = torch.zeros(size)
    mask[indices] = 1.0
    return mask


def _swapped_columns(basis: Tensor, indices: list[int] | None, origin: Path) -> Featurizer:
    """Return a whole basis as one with a mask, fewer columns as the subspace of those that are swapped."""
    mask = _mask(indices, basis.shape[1], origin)
    if basis.shape[0] == basis.shape[1]:
        return MaskedBasis(mask, basis)
    return Subspace(basis[:, mask > 0])
