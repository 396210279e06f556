"""The instrument: what makes two targets the same, tokenizers as their files say, adapters, kept hashes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import peft
import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from das.models import FAMILIES, TargetModel, kept
from das.models.load import load_target, target_from
from das.models.miniature import character_tokenizer, miniature
from das.models.tokenizing.probes import PROBES
from das.models.tokenizing.tokenizers import read_tokenizer
from das.models.weights import all_bytes_hash
from ravel.common.bundled import bundled_path
from ravel.common.errors import SuiteError

END = "<|endoftext|>"


@pytest.fixture
def target() -> TargetModel:
    """A model of its own for each test, which may change it."""
    return miniature(FAMILIES.get("llama"))


@pytest.fixture
def folder(target: TargetModel, tmp_path: Path) -> Path:
    target.model.save_pretrained(tmp_path / "model")
    target.tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def again(target: TargetModel, **changes: Any) -> TargetModel:
    return target_from(
        changes.get("model", target.model), changes.get("tokenizer", target.tokenizer), "again"
    )


class TestWhatDiffers:
    def test_the_same_objects_and_the_same_folder_are_the_same(
        self, target: TargetModel, folder: Path
    ) -> None:
        assert again(target).instrument == target.instrument == load_target(str(folder)).instrument

    def test_one_row_of_the_embedding_that_samples_miss(self, target: TargetModel) -> None:
        rows = target.model.get_input_embeddings().weight
        old = target.old_fingerprint
        with torch.no_grad():
            for row in range(len(rows)):
                rows[row] *= -1
                if again(target).old_fingerprint == old:
                    break
                rows[row] *= -1
        changed = again(target)
        assert changed.old_fingerprint == old
        assert changed.fingerprint != target.fingerprint
        assert changed.instrument.differences(target.parts) == ("weights",)

    def test_every_tensor_counts_to_its_last_bit(self, target: TargetModel) -> None:
        seen = {all_bytes_hash(target.model)}
        tensors = target.model.state_dict().values()
        for tensor in tensors:
            bits = tensor.view(-1)[-1:].view(torch.int32)
            bits ^= 1
            seen.add(all_bytes_hash(target.model))
            bits ^= 1
        # One more than there are tensors: the untouched model.
        assert len(seen) == len(tensors) + 1

    def test_a_tokenizer_that_puts_bos_in_front(self, target: TargetModel) -> None:
        other = again(target, tokenizer=character_tokenizer(add_bos=False))
        assert other.instrument.differences(target.parts) == ("tokenizer", "special tokens")

    def test_a_chat_template(self, target: TargetModel) -> None:
        tokenizer = character_tokenizer()
        tokenizer.chat_template = "{{ messages[0].content }}"
        other = again(target, tokenizer=tokenizer)
        assert other.instrument.differences(target.parts) == ("chat template",)

    def test_a_stop_token_of_the_generation_config(self, target: TargetModel) -> None:
        target.model.generation_config.eos_token_id = [2, 7]
        assert again(target).instrument.differences(target.parts) == ("special tokens",)

    def test_the_dtype(self, folder: Path, target: TargetModel) -> None:
        other = load_target(str(folder), dtype="bfloat16")
        assert other.instrument.differences(target.parts) == ("weights", "dtype")
        assert other.parts["dtype"] == "bfloat16"

    def test_the_attention_implementation(self, folder: Path, target: TargetModel) -> None:
        eager = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
        other = again(target, model=eager)
        assert other.instrument.differences(target.parts) == ("attention implementation",)

    def test_a_config_with_infinities_is_read_as_transformers_reads_it(
        self, folder: Path, target: TargetModel
    ) -> None:
        """transformers itself writes Infinity, which is no JSON."""
        path = folder / "config.json"
        said = json.loads(path.read_text())
        path.write_text(json.dumps(said | {"time_step_limit": [0, float("inf")]}))
        assert "Infinity" in path.read_text()
        other = load_target(str(folder))
        assert other.instrument.differences(target.parts) == ("config",)
        assert load_target(str(folder)).fingerprint == other.fingerprint


class TestOldFingerprints:
    def test_a_target_answers_to_its_own_and_to_its_old_one(self, target: TargetModel) -> None:
        old = target.known_as(target.old_fingerprint)
        assert old is not None
        assert old.fingerprint == target.old_fingerprint != target.fingerprint
        assert old.model is target.model
        assert old.parts == target.parts
        assert target.known_as(target.fingerprint) is target
        assert target.known_as("f" * 64) is None

    def test_and_goes_back_to_its_own(self, target: TargetModel) -> None:
        old = target.known_as(target.old_fingerprint)
        assert old is not None
        assert old.known_as(target.fingerprint) == target


def spoken(pattern: str, *, bos: bool) -> Tokenizer:
    """A byte-level tokenizer with a pre-tokenizer of its own, whose merges join digits."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(["1987007 198 700 19 87 007 hello world.\n\n"] * 20, trainer)
    if bos:
        made.post_processor = processors.TemplateProcessing(
            single=f"{END} $A", pair=f"{END} $A $B", special_tokens=[(END, 0)]
        )
    return made


THREES = r"\p{N}{1,3}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+"
WHOLE = r"\p{N}+| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+"


def beside(folder: Path, said: Tokenizer, saved_class: str) -> Path:
    """A folder with a tokenizer.json and a config that names a class that would make another of it."""
    folder.mkdir(exist_ok=True)
    said.save(str(folder / "tokenizer.json"))
    named = dict.fromkeys(("bos_token", "eos_token", "unk_token"), END)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": saved_class, **named}))
    config = LlamaConfig(
        vocab_size=400, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2
    )
    config.save_pretrained(folder)
    return folder


class TestTokenizersAsTheirFilesHaveThem:
    @pytest.mark.parametrize(
        ("saved_class", "bos", "pattern"),
        [
            ("GPT2Tokenizer", False, THREES),
            ("GPT2Tokenizer", True, WHOLE),
            ("GPTNeoXTokenizer", True, THREES),
            ("Qwen2Tokenizer", False, THREES),
            ("PreTrainedTokenizerFast", True, THREES),
        ],
    )
    def test_ids_are_those_of_the_file(
        self, saved_class: str, bos: bool, pattern: str, tmp_path: Path
    ) -> None:
        said = spoken(pattern, bos=bos)
        loaded = read_tokenizer(str(beside(tmp_path, said, saved_class)), "a model", False)
        for text in PROBES:
            assert loaded(text)["input_ids"] == said.encode(text).ids, text
        table = loaded("in 1987007", return_offsets_mapping=True)
        assert table["offset_mapping"] == said.encode("in 1987007").offsets
        assert (loaded.bos_token, loaded.eos_token) == (END, END)
        assert len(loaded) == said.get_vocab_size()

    def test_transformers_alone_makes_others_of_them(self, tmp_path: Path) -> None:
        """Without this the test above could not fail; when it fails itself, transformers has changed."""
        said = spoken(THREES, bos=True)
        folder = beside(tmp_path, said, "GPTNeoXTokenizer")
        ids = AutoTokenizer.from_pretrained(folder)("1987007")["input_ids"]
        assert ids != said.encode("1987007").ids

    def test_settings_that_change_no_ids_stay(self, tmp_path: Path) -> None:
        folder = beside(tmp_path, spoken(THREES, bos=True), "GPTNeoXTokenizer")
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": "{{ messages }}"}))
        assert read_tokenizer(str(folder), "a model", False).chat_template == "{{ messages }}"

    def test_what_cannot_be_brought_to_agree_is_refused_with_the_first_text(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = beside(tmp_path, spoken(THREES, bos=True), "GPTNeoXTokenizer")
        monkeypatch.setattr(
            "das.models.tokenizing.tokenizers.PreTrainedTokenizerFast",
            lambda **settings: character_tokenizer(),
        )
        with pytest.raises(SuiteError, match=r"ids of its tokenizer\.json; got other ids for 'Rome is the"):
            read_tokenizer(str(folder), "a model", False)

    def test_padding_and_truncation_of_the_file_do_not_count(self, tmp_path: Path) -> None:
        said = spoken(THREES, bos=False)
        said.enable_truncation(4)
        said.enable_padding(length=4)
        loaded = read_tokenizer(str(beside(tmp_path, said, "GPT2Tokenizer")), "a model", False)
        said.no_truncation()
        said.no_padding()
        ids = loaded(PROBES[0], truncation=False, padding=False)["input_ids"]
        assert ids == said.encode(PROBES[0]).ids
        assert len(ids) > 4


class Adapted(nn.Module):
    """A projection with a low-rank update, with the attributes that PEFT documents for its layers."""

    def __init__(self, base_layer: nn.Linear) -> None:
        super().__init__()
        self.base_layer = base_layer
        stream = torch.Generator().manual_seed(4)
        self.up = nn.Parameter(torch.randn(base_layer.out_features, 2, generator=stream))
        self.down = nn.Parameter(torch.randn(2, base_layer.in_features, generator=stream))
        self.active_adapters, self.merged_adapters = ["default"], []
        self.disable_adapters = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        plain: torch.Tensor = self.base_layer(x)
        return plain if self.disable_adapters else plain + x @ self.down.T @ self.up.T


class Wrapper(nn.Module):
    """A model wrapped as PEFT documents it: `base_model` is the tuner, its `model` is the model inside."""

    active_adapters = ("default",)

    def __init__(self, model: Any, **config: Any) -> None:
        super().__init__()
        for block in model.model.layers:
            block.self_attn.q_proj = Adapted(block.self_attn.q_proj)
        self.base_model = nn.Module()
        self.base_model.model = model
        self.peft_config = {"default": SimpleNamespace(**config)}


class TestAdapters:
    def test_a_wrapped_model_is_read_with_its_adapter_at_work(self, target: TargetModel) -> None:
        plain = copy.deepcopy(target.model)
        wrapped = again(target, model=Wrapper(target.model))
        assert (wrapped.family.name, wrapped.n_layers) == ("llama", 4)
        assert wrapped.instrument.differences(target.parts) == ("weights", "adapters")
        ids = torch.tensor([[1, 5, 6, 7]])
        assert not torch.allclose(wrapped.model(ids).logits, plain(ids).logits)
        for block in wrapped.model.model.layers:
            block.self_attn.q_proj.disable_adapters = True
        assert torch.equal(wrapped.model(ids).logits, plain(ids).logits)
        assert again(wrapped).instrument.differences(wrapped.parts) == ("adapters",)

    @pytest.mark.parametrize(
        "config", [{"is_prompt_learning": True}, {"peft_type": "XLORA"}, {"alora_invocation_tokens": [1]}]
    )
    def test_what_acts_in_the_wrapper_is_refused(self, target: TargetModel, config: dict[str, Any]) -> None:
        with pytest.raises(SuiteError, match="inside the model's modules"):
            again(target, model=Wrapper(target.model, **config))

    def test_a_folder_with_an_adapter_needs_peft(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("das.models.load.is_peft_available", lambda: False)
        (folder / "adapter_config.json").write_text("{}")
        with pytest.raises(SuiteError, match="the package peft for the adapter"):
            load_target(str(folder))

    @pytest.mark.parametrize("family", ["llama", "qwen2", "gemma2"])
    def test_with_peft_itself(self, family: str, tmp_path: Path) -> None:
        base = miniature(FAMILIES.get(family))
        config = peft.LoraConfig(
            r=2, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
        )
        base.model.save_pretrained(tmp_path)
        base.tokenizer.save_pretrained(tmp_path)
        wrapped = peft.get_peft_model(copy.deepcopy(base.model), config)
        wrapped.save_pretrained(tmp_path)
        target, loaded = again(base, model=wrapped), load_target(str(tmp_path))
        ids = torch.tensor([[1, 5, 6, 7]])
        assert torch.equal(target.model(ids).logits, wrapped(ids).logits)
        assert torch.equal(loaded.model(ids).logits, wrapped(ids).logits)
        assert loaded.fingerprint == target.fingerprint
        assert target.instrument.differences(base.parts) == ("weights", "adapters")
        merged = again(base, model=wrapped.merge_and_unload())
        assert merged.instrument.differences(base.parts) == ("weights",)


class TestKeptHashes:
    @pytest.fixture(autouse=True)
    def small_folders_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("das.models.kept._SMALLEST", 0)

    @pytest.fixture
    def hashed(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """One entry for each time that all bytes are hashed."""
        seen: list[int] = []

        def counted(model: nn.Module) -> str:
            seen.append(1)
            return all_bytes_hash(model)

        monkeypatch.setattr("das.models.weights.all_bytes_hash", counted)
        return seen

    def test_all_bytes_are_read_once(self, folder: Path, hashed: list[int], target: TargetModel) -> None:
        for _ in range(3):
            assert load_target(str(folder)).fingerprint == target.fingerprint
        assert len(hashed) == 1
        load_target(str(folder), dtype="float16")
        assert len(hashed) == 2

    def test_other_weights_are_hashed_again(
        self, folder: Path, hashed: list[int], target: TargetModel
    ) -> None:
        load_target(str(folder))
        with torch.no_grad():
            target.model.model.norm.weight[3] += 1
        target.model.save_pretrained(folder)
        assert load_target(str(folder)).fingerprint == again(target).fingerprint
        assert len(hashed) == 2 + 1

    def test_a_damaged_file_is_as_none(self, folder: Path, target: TargetModel) -> None:
        for content in ("", "[]", '{"values": [[1]]}', '{"values": [["a", "b", "c"]]}', '{"values": 3}'):
            (folder / ".ravel-kept.json").write_text(content)
            assert load_target(str(folder)).fingerprint == target.fingerprint

    def test_where_nothing_can_be_written_nothing_is_said(
        self, folder: Path, target: TargetModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(path: Path, value: Any) -> None:
            raise SuiteError(expected="to be able to write", came="read-only", todo="-")

        monkeypatch.setattr("das.models.kept.write_json", refuse)
        assert load_target(str(folder)).fingerprint == target.fingerprint
        assert not (folder / ".ravel-kept.json").exists()

    def test_old_values_go_and_new_ones_stay(self, tmp_path: Path) -> None:
        for number in range(70):
            kept.write(tmp_path, {"n": number}, number)
        assert kept.read(tmp_path, {"n": 69}) == 69
        assert kept.read(tmp_path, {"n": 0}) is None


def test_the_bundled_model_s_folder_stays_clean() -> None:
    load_target("bundled")
    assert [path.name for path in bundled_path("target_model").glob(".*")] == []


def test_tied_weights_count_by_both_names(target_of: Callable[[str], TargetModel]) -> None:
    model = target_of("gemma2").model
    untied = copy.deepcopy(model)
    untied.lm_head.weight = nn.Parameter(untied.lm_head.weight.detach().clone())
    assert all_bytes_hash(untied) == all_bytes_hash(model)
