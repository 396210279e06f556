"""Folders of pyreft, written and read: one intervention per layer, or two where first and last tokens each
have their own. Neither pyreft nor pyvene is needed; no class of a file is run.

Names of tensors are those of pyreft 0.1.0 (Wu et al. 2024, arXiv 2404.03592, code) in pyvene 0.1.8's layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from das.interop.pyvene_config import CONFIG, Listed, listed_interventions, place_of
from das.interop.rotations import columns_of, parametrised_state, stored_weight
from das.interop.torch_files import names_of, plain_state, plain_tensor, read_torch_file, write_torch_file
from das.positions import Positions
from das.reft.forms import FORMS, LowRankChange
from das.reft.tuned import TunedStates
from ravel.common.errors import SuiteError
from ravel.common.io import read_json, write_json

CLASSES: Mapping[str, str] = {
    "loreft": "LoreftIntervention",
    "noreft": "NoreftIntervention",
    "consreft": "ConsreftIntervention",
    "direft": "NodireftIntervention",
    "direft_orthonormal": "DireftIntervention",
}
"""What pyreft calls each form."""
_FORM_OF = {name: form for form, name in CLASSES.items()}
_BESIDE = "ravel_reft.json"
"""What pyreft's own files do not say."""
_DERIVED = ("embed_dim", "interchange_dim")
_UNSET = 9
"""Fields of pyvene's representation after the rank, all of them null."""


def write_pyreft(tuned: TunedStates, folder: Path) -> None:
    """Write interventions as `pyreft.ReftModel.save` does, tensors in float32: all for the first tokens, then
    all for the last ones. Positions, which are an argument of pyreft's call, stand in a file beside them.

    pyreft 0.1.0 reads W and b into bfloat16, and can't make NoreftIntervention or NodireftIntervention of a
    folder (it lacks `add_bias`); their files are read by `load_state_dict` of an intervention made by hand.
    """
    parts = sorted(tuned.parts(), key=lambda part: (part[1], part[0]))
    keys = [f"layer_{layer}_comp_block_output_unit_pos_nunit_1#{group}" for layer, group, _ in parts]
    for key, (_, _, change) in zip(keys, parts, strict=True):
        write_torch_file(folder / f"intkey_{key}.bin", _state_of(change))
    kinds = [f"<class 'pyreft.interventions.{CLASSES[change.form]}'>" for _, _, change in parts]
    config = {
        "representations": [
            [layer, "block_output", "pos", 1, change.rank, *[None] * _UNSET] for layer, _, change in parts
        ],
        "intervention_types": kinds,
        "intervention_dimensions": [change.width for _, _, change in parts],
        "intervention_constant_sources": [True for _ in parts],
        "mode": "parallel",
        "sorted_keys": keys,
    }
    write_json(folder / _BESIDE, {"positions": str(tuned.positions), "tied": tuned.tied})
    write_json(folder / CONFIG, config)


def read_pyreft(folder: Path, positions: str | None = None) -> TunedStates:
    """Read the interventions that pyreft, or `write_pyreft`, saved, each after a block.

    `positions` are those of the file beside them unless given. Raises SuiteError for damaged or pickled
    files, other classes, another place than a block's output, layers that do not have one or two
    interventions each, numbers that are not the form's, and positions that are neither given nor written.
    """
    listed = listed_interventions(folder)
    forms = {_form_of(one, folder) for one in listed}
    if len(forms) != 1:
        raise _unfit(folder, "one class of interventions", names_of(forms))
    changes: dict[int, list[LowRankChange]] = {}
    for one in listed:
        place, _ = place_of(one, folder / CONFIG, None)
        if place.stream != "block_output" or place.layer is None:
            raise _unfit(folder, "interventions on a block's output", names_of([one.component]))
        changes.setdefault(place.layer, []).append(_read(folder / f"intkey_{one.name}.bin", *forms))
    return TunedStates(_positions_of(folder, positions), changes)


def _state_of(change: LowRankChange) -> dict[str, Any]:
    """Return the tensors as the class of pyreft names them."""
    writer, offset = change.writer.detach().cpu(), change.offset.detach().cpu().clone()
    source = None if change.source is None else change.source.detach().cpu().clone()
    width = torch.tensor(change.width)
    if change.form == "loreft":
        return {"weight": source, "bias": offset, "rotate_layer": writer.mT.contiguous()}
    state: dict[str, Any] = dict.fromkeys(_DERIVED, width)
    if change.terms.orthonormal:
        rotation = parametrised_state(writer.mT.contiguous())
        state.update({f"rotate_layer.{name}": value for name, value in rotation.items()})
    else:
        state["proj_layer.weight"] = writer.clone()
    if source is None:
        return {**state, "learned_source": offset}
    return {**state, "learned_source.weight": source, "learned_source.bias": offset}


def _read(path: Path, form: str) -> LowRankChange:
    state = plain_state(read_torch_file(path), path)
    writer = _writer(state, form, path)
    rank, width = writer.shape
    if not FORMS[form].reads:
        return LowRankChange(form, writer, plain_tensor(state, "learned_source", path, shape=(rank,)))
    prefix = "learned_source." if "learned_source.weight" in state else ""
    source = plain_tensor(state, f"{prefix}weight", path, shape=(rank, width))
    return LowRankChange(form, writer, plain_tensor(state, f"{prefix}bias", path, shape=(rank,)), source)


def _writer(state: Mapping[str, Any], form: str, path: Path) -> Tensor:
    """Return V, [rank, d_model]."""
    if FORMS[form].orthonormal:
        if "rotate_layer" in state:
            matrix = plain_tensor(state, "rotate_layer", path, shape=(None, None))
        else:
            matrix = stored_weight(state, "rotate_layer.", path)
        return columns_of(matrix, path, orientation="columns").basis.mT
    if "proj_layer.bias" in state:
        raise _unfit(path, "a projection without a bias of its own", "one with `proj_layer.bias`")
    return plain_tensor(state, "proj_layer.weight", path, shape=(None, None))


def _form_of(listed: Listed, folder: Path) -> str:
    if listed.kind not in _FORM_OF:
        raise _unfit(folder, f"interventions of pyreft, {', '.join(_FORM_OF)}", names_of([listed.kind]))
    return _FORM_OF[listed.kind]


def _positions_of(folder: Path, given: str | None) -> Positions:
    if given is not None:
        return Positions.parse(given)
    beside = read_json(folder / _BESIDE) if (folder / _BESIDE).is_file() else None
    stated = beside.get("positions") if isinstance(beside, dict) else None
    if not isinstance(stated, str):
        raise SuiteError(
            expected=f"the tokens that the interventions in {folder} edit",
            came="a folder that does not say",
            todo="give them, such as --positions f7+l7; pyreft's own files hold none",
        )
    return Positions.parse(stated)


def _unfit(origin: Path, expected: str, came: str) -> SuiteError:
    return SuiteError(
        expected=f"{expected} in {origin}", came=came, todo="name a folder that pyreft saved, whole"
    )
