"""What was learned on disk: our own folder to the bit, pyreft's names and numbers, PEFT's own loader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import nn

from das.interop.peft_folders import read_peft, write_peft
from das.interop.pyreft_folders import CLASSES, read_pyreft, write_pyreft
from das.interop.torch_files import read_torch_file, write_torch_file
from das.models import FAMILIES
from das.models.adapters import with_adapter
from das.models.base import TargetModel
from das.models.miniature import miniature
from das.reft.forms import FORMS
from das.reft.settings import KINDS, ReftConfig
from das.reft.storage import load_tuned, save_tuned
from das.reft.tuned import PromptPlaces, Tuned, TunedProjections, TunedStates, fresh_tuned
from ravel.common.errors import SuiteError

IDS = torch.tensor([[1, 5, 6, 7, 40]])


@pytest.fixture(scope="module")
def target() -> TargetModel:
    return miniature(FAMILIES.get("llama"))


def made(target: TargetModel, kind: str, **settings: Any) -> Tuned:
    config = ReftConfig.from_mapping(
        {"kind": kind, "rank": 3, "positions": "f2+l1", "layers": [0, 2], **settings}, origin="test"
    )
    tuned = fresh_tuned(config, target, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    tuned.retract()
    return tuned


def logits(target: TargetModel, tuned: Tuned) -> torch.Tensor:
    with tuned.at_work(target, PromptPlaces((0,), (5,))), torch.no_grad():
        answer: torch.Tensor = target.model(input_ids=IDS).logits
    return answer


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_it_is_the_same_to_the_bit(
    target: TargetModel, kind: str, tied: bool, tmp_path: Path
) -> None:
    tuned = made(target, kind, tied=tied)
    save_tuned(tuned, tmp_path, model="m", fingerprint="f")
    loaded, header = load_tuned(tmp_path)
    assert (header.kind, header.model) == (kind, "m")
    assert torch.equal(logits(target, loaded), logits(target, tuned))
    content = (tmp_path / "reft.safetensors").read_bytes()
    (tmp_path / "reft.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(SuiteError, match="hash"):
        load_tuned(tmp_path)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_a_pyreft_folder_comes_back_as_it_was(
    target: TargetModel, form: str, tied: bool, tmp_path: Path
) -> None:
    tuned = made(target, form, tied=tied)
    assert isinstance(tuned, TunedStates)
    write_pyreft(tuned, tmp_path)
    back = read_pyreft(tmp_path)
    assert (str(back.positions), back.tied, back.layers) == ("f2+l1", tied, (0, 2))
    torch.testing.assert_close(logits(target, back), logits(target, tuned), atol=1e-5, rtol=1e-5)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["intervention_types"] == [f"<class 'pyreft.interventions.{CLASSES[form]}'>"] * (
        2 if tied else 4
    )
    places = [row[:5] for row in config["representations"]]
    assert places == [[layer, "block_output", "pos", 1, 3] for layer in (0, 2)] * (1 if tied else 2)
    assert {path.name for path in tmp_path.glob("*.bin")} == {
        f"intkey_layer_{layer}_comp_block_output_unit_pos_nunit_1#{group}.bin"
        for layer in (0, 2)
        for group in range(1 if tied else 2)
    }


def test_files_of_pyreft_have_its_names_and_numbers(target: TargetModel, tmp_path: Path) -> None:
    """A module of torch with pyreft's parts reads what was written, and says what the form says."""
    tuned = made(target, "direft")
    assert isinstance(tuned, TunedStates)
    write_pyreft(tuned, tmp_path)
    state = read_torch_file(tmp_path / "intkey_layer_2_comp_block_output_unit_pos_nunit_1#0.bin")
    assert (int(state.pop("embed_dim")), int(state.pop("interchange_dim"))) == (32, 32)
    parts = nn.ModuleDict({"proj_layer": nn.Linear(32, 3, bias=False), "learned_source": nn.Linear(32, 3)})
    parts.load_state_dict(state)
    h = torch.randn(4, 32)
    theirs = h + parts["learned_source"](h) @ parts["proj_layer"].weight
    torch.testing.assert_close(tuned.changes[1](h), theirs)
    rotated = made(target, "consreft")
    assert isinstance(rotated, TunedStates)
    write_pyreft(rotated, tmp_path / "c")
    state = read_torch_file(tmp_path / "c" / "intkey_layer_0_comp_block_output_unit_pos_nunit_1#0.bin")
    assert set(state) == {
        *("embed_dim", "interchange_dim", "learned_source"),
        *("rotate_layer.parametrizations.weight.original", "rotate_layer.parametrizations.weight.0.base"),
    }


def test_positions_must_be_said_by_someone(target: TargetModel, tmp_path: Path) -> None:
    tuned = made(target, "loreft")
    assert isinstance(tuned, TunedStates)
    write_pyreft(tuned, tmp_path)
    (tmp_path / "ravel_reft.json").unlink()
    with pytest.raises(SuiteError, match="f7"):
        read_pyreft(tmp_path)
    assert str(read_pyreft(tmp_path, "l1").positions) == "l1"


@pytest.mark.parametrize("damage", ["class", "component", "shape", "bias", "missing", "rotation"])
def test_a_damaged_pyreft_folder_is_refused(target: TargetModel, damage: str, tmp_path: Path) -> None:
    tuned = made(target, "loreft" if damage == "rotation" else "noreft")
    assert isinstance(tuned, TunedStates)
    write_pyreft(tuned, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    path = tmp_path / "intkey_layer_0_comp_block_output_unit_pos_nunit_1#0.bin"
    state = read_torch_file(path)
    if damage == "class":
        config["intervention_types"][0] = "<class 'pyreft.interventions.Other'>"
    if damage == "component":
        config["representations"][0][1] = "mlp_output"
    if damage == "shape":
        state["learned_source.weight"] = torch.zeros(2, 32)
    if damage == "bias":
        state["proj_layer.bias"] = torch.zeros(3)
    if damage == "rotation":
        state["rotate_layer"] = 2 * state["rotate_layer"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    write_torch_file(path, state)
    if damage == "missing":
        path.unlink()
    with pytest.raises(SuiteError):
        read_pyreft(tmp_path)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_peft_puts_the_written_adapter_on_and_answers_the_same(family: str, tmp_path: Path) -> None:
    target = miniature(FAMILIES.get(family))
    tuned = made(target, "lora")
    assert isinstance(tuned, TunedProjections)
    write_peft(tuned, tmp_path, target)
    ours = logits(target, tuned)
    back = read_peft(tmp_path)
    assert torch.equal(logits(target, back), ours)
    adapted = with_adapter(miniature(FAMILIES.get(family)).model, tmp_path, target.name)
    with torch.no_grad():
        torch.testing.assert_close(adapted(input_ids=IDS).logits, ours, atol=1e-5, rtol=1e-4)


def test_an_adapter_of_peft_is_read(target: TargetModel, tmp_path: Path) -> None:
    torch.manual_seed(8)
    other = miniature(FAMILIES.get("llama"))
    config = peft.LoraConfig(
        init_lora_weights=False,
        task_type="CAUSAL_LM",
        r=2,
        lora_alpha=6,
        target_modules=["q_proj", "up_proj"],
    )
    wrapped = peft.get_peft_model(other.model, config)
    wrapped.save_pretrained(tmp_path)
    tuned = read_peft(tmp_path)
    tuned.check(target)
    with torch.no_grad():
        torch.testing.assert_close(logits(target, tuned), wrapped(input_ids=IDS).logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"peft_type": "LOHA"},
        {"use_dora": True},
        {"bias": "all"},
        {"r": 4},
        {"r": None},
        {"rank_pattern": {"a": 1}},
    ],
)
def test_other_adapters_are_refused(target: TargetModel, change: dict[str, Any], tmp_path: Path) -> None:
    tuned = made(target, "lora")
    assert isinstance(tuned, TunedProjections)
    write_peft(tuned, tmp_path, target)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(SuiteError):
        read_peft(tmp_path)
