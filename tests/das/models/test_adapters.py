"""Adapters from their folders: at work or merged, part of the instrument, and refused on another base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from das.engine import make_engine
from das.models import FAMILIES, adapters
from das.models.load import load_target
from das.models.miniature import miniature
from ravel.common.errors import SuiteError

IDS = torch.tensor([[1, 5, 6, 7, 40]])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature Llama's folder; leave it unchanged."""
    folder = tmp_path_factory.mktemp("base")
    target = miniature(FAMILIES.get("llama"))
    target.model.save_pretrained(folder)
    target.tokenizer.save_pretrained(folder)
    return folder


def adapter_for(base: Path, folder: Path, **settings: Any) -> Path:
    """Write a LoRA with random weights for a model and return its folder."""
    model = AutoModelForCausalLM.from_pretrained(base)
    chosen = {"r": 2, "target_modules": ["q_proj", "up_proj"], **settings}
    torch.manual_seed(8)
    config = peft.LoraConfig(init_lora_weights=False, task_type="CAUSAL_LM", **chosen)
    peft.get_peft_model(model, config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter for the miniature; leave it unchanged."""
    return adapter_for(base, tmp_path_factory.mktemp("adapter"))


def test_an_adapter_is_at_work_as_peft_has_it(base: Path, adapter: Path) -> None:
    plain, adapted = load_target(str(base)), load_target(str(base), adapter=adapter)
    own = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    assert torch.equal(adapted.model(IDS).logits, own(IDS).logits)
    assert not torch.allclose(adapted.model(IDS).logits, plain.model(IDS).logits)
    assert adapted.instrument.differences(plain.parts) == ("weights", "adapters")
    engine = make_engine("resume", adapted, prove=True)
    assert (engine.target.refused, engine.target.no_resume) == ({}, None)


def test_merged_it_is_plain_weights_that_answer_the_same(base: Path, adapter: Path) -> None:
    adapted = load_target(str(base), adapter=adapter)
    merged = load_target(str(base), adapter=adapter, merge_adapter=True)
    torch.testing.assert_close(merged.model(IDS).logits, adapted.model(IDS).logits)
    assert merged.instrument.differences(load_target(str(base)).parts) == ("weights",)
    assert not any("lora" in name for name, _ in merged.model.named_parameters())


def test_another_byte_of_an_adapter_is_another_instrument(base: Path, adapter: Path, tmp_path: Path) -> None:
    changed = adapter_for(base, tmp_path / "changed")
    assert load_target(str(base), adapter=changed).parts == load_target(str(base), adapter=adapter).parts
    weights = load_file(changed / "adapter_model.safetensors")
    name = sorted(weights)[0]
    weights[name][0, 0] += 1e-3
    save_file(weights, changed / "adapter_model.safetensors", metadata={"format": "pt"})
    for merged in (False, True):
        one, other = (
            load_target(str(base), adapter=folder, merge_adapter=merged) for folder in (adapter, changed)
        )
        assert one.instrument.differences(other.parts) == ("weights",)


def refused(base: Path | str, adapter: Path, words: str) -> None:
    with pytest.raises(SuiteError, match=words) as caught:
        load_target(str(base), adapter=adapter)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of other models: another width, fewer blocks, more blocks, other modules."""
    found = {}
    for name, changes in {
        "wider": {"hidden_size": 64, "head_dim": 16},
        "shorter": {"num_hidden_layers": 2},
        "longer": {"num_hidden_layers": 6},
    }.items():
        folder = tmp_path_factory.mktemp(name)
        config = FAMILIES.get("llama").miniature()
        config.update(changes)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        found[name] = folder
    target = miniature(FAMILIES.get("gpt2"))
    found["gpt2"] = tmp_path_factory.mktemp("gpt2")
    target.model.save_pretrained(found["gpt2"])
    return found


class TestRefused:
    @pytest.mark.parametrize("other", ["wider", "shorter", "longer", "gpt2"])
    def test_an_adapter_for_another_base(
        self, other: str, others: dict[str, Path], base: Path, tmp_path: Path
    ) -> None:
        settings = {"target_modules": ["c_attn"], "fan_in_fan_out": True} if other == "gpt2" else {}
        made = adapter_for(others[other], tmp_path / "adapter", **settings)
        refused(base, made, "Expected an adapter for .*base_model_name_or_path")

    def test_an_adapter_that_names_another_base(self, adapter: Path, tmp_path: Path) -> None:
        """Of two hub ids, whatever the shapes; a path says nothing."""
        said = json.loads((adapter / "adapter_config.json").read_text())
        for base, name, fits in (
            ("meta-llama/Llama-3", "meta-llama/llama-3", True),
            ("meta-llama/Llama-3", "meta-llama/Llama-2", False),
            ("HuggingFaceTB/SmolLM2-135M", "smollm2-135m", False),
            ("HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2-135m", True),
            ("/home/ann/llama", "meta-llama/Llama-2", True),
            (None, "meta-llama/Llama-2", True),
        ):
            changed = {**said, "base_model_name_or_path": base}
            (tmp_path / "adapter_config.json").write_text(json.dumps(changed))
            config = peft.PeftConfig.from_pretrained(tmp_path)
            if fits:
                adapters._check_base(config.base_model_name_or_path, name, tmp_path)
            else:
                with pytest.raises(SuiteError, match=f"one for {base}, as its adapter_config"):
                    adapters._check_base(config.base_model_name_or_path, name, tmp_path)

    def test_a_folder_that_is_no_adapter(self, base: Path, tmp_path: Path) -> None:
        refused(base, tmp_path / "none", "got no folder")
        refused(base, base, r"without adapter_config\.json")
        refused(base, tmp_path, r"without adapter_config\.json")

    def test_learnt_prompts(self, base: Path, tmp_path: Path) -> None:
        model = AutoModelForCausalLM.from_pretrained(base)
        config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
        peft.get_peft_model(model, config).save_pretrained(tmp_path)
        refused(base, tmp_path, "inside the model's modules")

    def test_without_peft(self, base: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("das.models.adapters.find_spec", lambda name: None)
        refused(base, adapter, "the package peft")
