"""LoRA adapters in the folders of PEFT, written and read as plain files; PEFT itself is not needed. A folder
that is to be put on a model by PEFT goes through `das.models.adapters`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from das.models.base import TargetModel
from das.reft.lora import LoraTerm
from das.reft.tuned import TunedProjections
from das.tensor_files import TensorFileError, parse_tensors
from ravel.common.errors import SuiteError
from ravel.common.io import read_bytes, read_json, write_bytes, write_json

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_BEFORE = "base_model.model."
_NAME = re.compile(r"base_model\.model\.(?P<path>.+)\.lora_(?P<side>[AB])\.weight")
_OFF = (
    "use_dora",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
    "lora_bias",
    "alora_invocation_tokens",
)
"""Settings of PEFT that change the formula, and which only a folder without them is read."""


def write_peft(tuned: TunedProjections, folder: Path, model: TargetModel) -> None:
    """Write terms as PEFT saves a LoRA adapter, each layer named by its whole path in the model."""
    tensors: dict[str, Tensor] = {}
    for path, term in tuned.parts():
        tensors[f"{_BEFORE}{path}.lora_A.weight"] = term.down.detach().cpu().contiguous().clone()
        tensors[f"{_BEFORE}{path}.lora_B.weight"] = term.up.detach().cpu().contiguous().clone()
    first = next(term for _, term in tuned.parts())
    rank = int(first.down.shape[0])
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": model.name,
        "r": rank,
        "lora_alpha": first.scale * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        # GPT-2 keeps its weights the other way round.
        "fan_in_fan_out": hasattr(model.model.get_submodule(tuned.paths[0]), "nf"),
        "inference_mode": True,
        "target_modules": list(tuned.paths),
        "use_rslora": False,
    }
    write_bytes(folder / _WEIGHTS, save(dict(sorted(tensors.items()))))
    write_json(folder / _CONFIG, config)


def read_peft(folder: Path) -> TunedProjections:
    """Read a LoRA adapter that PEFT, or `write_peft`, saved. Raises SuiteError for another kind of adapter,
    settings that change the formula, damaged files, and tensors that do not fit together."""
    config = read_json(folder / _CONFIG)
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        came = config.get("peft_type") if isinstance(config, dict) else type(config).__name__
        raise _unfit(folder, "a LoRA adapter of PEFT", repr(came))
    changed = [name for name in _OFF if config.get(name)]
    if changed or config.get("bias", "none") != "none":
        raise _unfit(folder, "plain LoRA", f"one with {', '.join(changed) or 'biases'}")
    rank, scale = _scale_of(config, folder)
    try:
        tensors = parse_tensors(read_bytes(folder / _WEIGHTS))
    except TensorFileError as error:
        raise _unfit(folder, f"a whole {_WEIGHTS}", str(error)) from None
    sides: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise _unfit(folder, "A and B of linear layers only", repr(name[:120]))
        sides.setdefault(match["path"], {})[match["side"]] = tensor.clone()
    wrong = [path for path, pair in sides.items() if set(pair) != {"A", "B"} or pair["A"].shape[0] != rank]
    if wrong or not sides:
        raise _unfit(folder, f"A and B of rank {rank} for every layer", f"others for {wrong[:1] or 'none'}")
    return TunedProjections({path: LoraTerm(pair["A"], pair["B"], scale) for path, pair in sides.items()})


def _scale_of(config: dict[str, Any], folder: Path) -> tuple[int, float]:
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if type(rank) is not int or rank < 1 or type(alpha) not in (int, float):
        raise _unfit(folder, "a rank r and a number lora_alpha", f"{rank!r} and {alpha!r}")
    assert isinstance(alpha, (int, float))
    return rank, alpha / (rank**0.5 if config.get("use_rslora") else rank)


def _unfit(folder: Path, expected: str, came: str) -> SuiteError:
    return SuiteError(
        expected=f"{expected} in {folder}", came=came, todo="name a folder that PEFT saved, whole"
    )
