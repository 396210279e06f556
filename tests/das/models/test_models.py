"""Model families, loading, and what makes two models the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, GPT2Config
from transformers.utils import logging

from das.models import FAMILIES, TargetModel
from das.models.expansion import expand_sites
from das.models.load import load_target, target_from
from das.models.miniature import character_tokenizer, miniature, random_target
from das.out_of_memory import MemoryShortageError, memory_guard
from das.sites import Site
from ravel.common.errors import SuiteError

TargetMaker = Callable[[str], TargetModel]
TEXT = "Rome 12345, it's\n in"


@pytest.fixture(params=FAMILIES.names())
def name(request: pytest.FixtureRequest) -> str:
    family: str = request.param
    return family


@pytest.fixture(scope="session")
def saved(target_of: TargetMaker, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from a family's name to a folder with its miniature; copy it before changing it."""
    made: dict[str, Path] = {}

    def save(family: str) -> Path:
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family)
            target_of(family).model.save_pretrained(made[family])
            target_of(family).tokenizer.save_pretrained(made[family])
        return made[family]

    return save


def test_the_families_of_the_first_release_are_known() -> None:
    assert FAMILIES.names() == [
        *("gemma2", "gemma3", "gpt2", "gpt_neox", "gptj", "granite", "llama", "mistral", "olmo2", "opt"),
        *("phi", "phi3", "qwen2", "qwen3", "stablelm"),
    ]


def test_a_miniature_is_tiny_frozen_and_in_eval_mode(name: str, target_of: TargetMaker) -> None:
    target = target_of(name)
    assert target.family.name == name
    assert target.n_layers == 4
    assert target.d_model <= 32
    assert target.model.config.vocab_size == 128
    assert not target.model.training
    assert not any(p.requires_grad for p in target.model.parameters())
    assert target.model.config.model_type in target.family.model_types


def test_the_heads_fill_what_the_output_projection_reads(name: str, target_of: TargetMaker) -> None:
    target = target_of(name)
    ids, block = torch.tensor([[1, 5, 6]]), target.family.blocks(target.model)[1]
    widths: list[int] = []
    handle = target.family.projection(block).register_forward_pre_hook(
        lambda module, inputs: widths.append(inputs[0].shape[-1])
    )
    target.model(ids)
    handle.remove()
    assert widths == [target.n_heads * target.head_width]


def test_a_place_is_a_part_of_its_own_block(name: str, target_of: TargetMaker) -> None:
    target = target_of(name)
    block = target.family.blocks(target.model)[2]
    assert target.place(Site(2)).module is block
    parts = [target.place(Site(2, "attention_output")), target.place(Site(2, "mlp_output"))]
    head = target.place(Site(2, "head_output", head=1))
    assert head.columns == slice(target.head_width, 2 * target.head_width)
    assert head.side == "input"
    assert {part.module for part in parts} < set(block.modules())
    assert head.module in set(parts[0].module.modules())
    assert target.width(Site(2, "head_output", head=1)) == target.head_width
    assert target.width(Site(2, "mlp_output")) == target.d_model


def test_a_head_or_layer_of_another_model_has_no_place(small_target: TargetModel) -> None:
    with pytest.raises(SuiteError, match="a head from 0 to 3"):
        small_target.place(Site(2, "head_output", head=4))
    with pytest.raises(SuiteError, match="a layer from 0 to 3"):
        small_target.check(Site(4, "mlp_output"))


@pytest.mark.parametrize(
    ("patterns", "sites"),
    [
        (["block_output.3@entity_last"], ["block_output.3@entity_last"]),
        (["block_output.*@prompt_last"], [f"block_output.{n}@prompt_last" for n in range(4)]),
        (
            ["mlp_output.2-3@entity_last", "attention_output.0@entity_last", "mlp_output.1-2@entity_last"],
            [
                "mlp_output.2@entity_last",
                "mlp_output.3@entity_last",
                "attention_output.0@entity_last",
                "mlp_output.1@entity_last",
            ],
        ),
        (["head_output.2.*@prompt_last"], [f"head_output.2.{n}@prompt_last" for n in range(4)]),
        (
            ["head_output.0-1.1-2@entity_last"],
            [f"head_output.{n}.{h}@entity_last" for n in (0, 1) for h in (1, 2)],
        ),
        ([], []),
    ],
)
def test_patterns_of_sites_are_spelt_out(
    small_target: TargetModel, patterns: list[str], sites: list[str]
) -> None:
    assert expand_sites(patterns, small_target) == sites


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("block_output@entity_last", r"an ascending range such as 0-2, or \* for all"),
        ("*.1@entity_last", "ascending range"),
        ("block_output.3-1@entity_last", "ascending range"),
        ("block_output.1-@entity_last", "ascending range"),
        ("block_output.2-4@entity_last", "a layer from 0 to 3"),
        ("block_output.0-99999999@entity_last", "layer 4 in"),
        ("head_output.1.4@entity_last", "a head from 0 to 3"),
        ("head_output.*@entity_last", "head_output with a head"),
        ("mlp_output.*.*@entity_last", "only head_output has heads"),
        ("block_outputs.*@entity_last", "did you mean 'block_output'"),
        ("block_output.*@entity_lst", "did you mean 'entity_last'"),
    ],
)
def test_other_patterns_are_refused(small_target: TargetModel, pattern: str, message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        expand_sites([pattern], small_target)


def test_a_miniature_depends_on_its_seed_only(name: str) -> None:
    state = torch.random.get_rng_state()
    first, again, other = (miniature(FAMILIES.get(name), seed=seed) for seed in (1, 1, 2))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert torch.equal(torch.random.get_rng_state(), state)


def test_local_and_global_layers_stand_in_the_miniatures_of_those_shapes(target_of: TargetMaker) -> None:
    for family in ("qwen2", "qwen3", "gemma2", "gemma3"):
        config = target_of(family).model.config
        assert set(config.layer_types) == {"sliding_attention", "full_attention"}
        assert config.sliding_window == 3


def test_a_gemma_3_config_of_the_hub_is_read_as_its_family(target_of: TargetMaker, tmp_path: Path) -> None:
    """The hub's configs say a pattern where transformers 5 writes a list of layers, and two rotary bases."""
    said = {
        **{"architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "attention_bias": False},
        **{"cache_implementation": "hybrid", "bos_token_id": 2, "eos_token_id": [1, 106], "pad_token_id": 0},
        **{"rope_local_base_freq": 10000, "rope_theta": 1000000, "rope_scaling": None, "vocab_size": 128},
        **{"sliding_window": 3, "sliding_window_pattern": 6, "torch_dtype": "bfloat16", "head_dim": 12},
        **{"hidden_size": 32, "num_hidden_layers": 7, "num_attention_heads": 4, "num_key_value_heads": 1},
        **{"intermediate_size": 48, "query_pre_attn_scalar": 12, "max_position_embeddings": 128},
    }
    (tmp_path / "config.json").write_text(json.dumps(said))
    config = AutoConfig.from_pretrained(tmp_path)
    target = random_target(config, name="as on the hub")
    assert target.family.name == "gemma3"
    assert config.layer_types == [*["sliding_attention"] * 5, "full_attention", "sliding_attention"]
    bases = {kind: rope["rope_theta"] for kind, rope in config.rope_parameters.items()}
    assert bases == {"sliding_attention": 10000, "full_attention": 1000000}
    assert (target.n_layers, target.n_heads, target.head_width) == (7, 4, 12)


def test_loading_gives_back_the_same_model(
    name: str, target_of: TargetMaker, saved: Callable[[str], Path]
) -> None:
    target, loaded = target_of(name), load_target(str(saved(name)))
    assert loaded.fingerprint == target.fingerprint
    assert not any(p.requires_grad for p in loaded.model.parameters())
    ids = torch.tensor([target.tokenizer(TEXT)["input_ids"]])
    assert torch.equal(loaded.model(ids).logits, target.model(ids).logits)


def test_a_plain_tokenizer_stays_as_it_was_saved(
    name: str, target_of: TargetMaker, saved: Callable[[str], Path]
) -> None:
    """transformers 5 would give Qwen 2 its own pre-tokenizer here, and blanks and digits other ids."""
    loaded = load_target(str(saved(name))).tokenizer
    before, after = (t(TEXT, return_offsets_mapping=True) for t in (target_of(name).tokenizer, loaded))
    assert after["input_ids"] == before["input_ids"]
    assert after["offset_mapping"] == before["offset_mapping"]
    assert loaded.decode(after["input_ids"], skip_special_tokens=True) == TEXT


def test_the_fingerprint_is_of_the_weights_and_not_of_the_folder(saved: Callable[[str], Path]) -> None:
    target = load_target(str(saved("llama")))
    assert load_target(str(saved("llama")), dtype="bfloat16").fingerprint != target.fingerprint
    with torch.no_grad():
        target.model.model.norm.weight[3] += 1
    assert target_from(target.model, target.tokenizer, "changed").fingerprint != target.fingerprint


def test_the_dtype_is_as_asked(saved: Callable[[str], Path]) -> None:
    assert load_target(str(saved("gpt2")), dtype="bfloat16").dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name_or_path": "./nowhere"}, "there is no folder"),
        ({"name_or_path": "a/b/c"}, "there is no folder"),
        ({"name_or_path": ""}, "there is no folder"),
        ({"name_or_path": "nobody/nothing-at-all"}, "hub id that can be reached"),
        ({"name_or_path": "gpt2", "dtype": "float23"}, "did you mean 'float32'"),
        ({"name_or_path": "gpt2", "device": "toaster"}, "a device of this machine"),
        ({"name_or_path": "gpt2", "device": "cuda:99"}, "a device of this machine"),
    ],
)
def test_what_is_not_there_is_said(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        load_target(**arguments)  # type: ignore[arg-type]


def copied(folder: Path, to: Path, *names: str) -> Path:
    for path in folder.iterdir():
        if path.name not in names:
            (to / path.name).write_bytes(path.read_bytes())
    return to


def edited_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_an_unknown_family_names_the_known_ones_and_the_how_to(
    saved: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = copied(saved("gpt2"), tmp_path)
    for model_type in ("t5", "no_such_type"):
        edited_config(folder, model_type=model_type)
        with pytest.raises(SuiteError, match=r"gemma2, gemma3, .*docs/how-to/add-a-model-family\.md"):
            load_target(str(folder))


def test_a_models_own_code_is_not_run_unasked(saved: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copied(saved("gpt2"), tmp_path)
    edited_config(folder, model_type="own", auto_map={"AutoConfig": "own.OwnConfig"})
    (folder / "own.py").write_text("raise RuntimeError('run')")
    with pytest.raises(SuiteError, match="--trust-remote-code"):
        load_target(str(folder))


def test_pickled_weights_are_not_read_unasked(
    target_of: TargetMaker, saved: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = copied(saved("llama"), tmp_path, "model.safetensors")
    torch.save(target_of("llama").model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(SuiteError, match="--allow-pickle"):
        load_target(str(folder))
    assert load_target(str(folder), allow_pickle=True).fingerprint == target_of("llama").fingerprint


def test_truncated_and_missing_weights_are_refused(saved: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copied(saved("llama"), tmp_path)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-100])
    with pytest.raises(SuiteError, match="readable safetensors weights"):
        load_target(str(folder))
    (folder / "model.safetensors").write_bytes(whole)
    edited_config(folder, num_hidden_layers=5)
    with pytest.raises(SuiteError, match=r"none for \d+, among them model\.layers\.4"):
        load_target(str(folder))
    edited_config(folder, num_hidden_layers=4, intermediate_size=52)
    with pytest.raises(SuiteError, match="weights"):
        load_target(str(folder))


@pytest.mark.parametrize(
    ("said", "package"),
    [
        ({"quant_method": "gptq", "bits": 4}, "gptq, .*optimum"),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "awq, .*gptqmodel"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes, .*bitsandbytes"),
    ],
)
def test_the_package_that_quantised_weights_need_is_named(
    said: dict[str, Any], package: str, saved: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved("llama")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": said}))
    for name in ("gptq.is_optimum_available", "awq.is_gptqmodel_available"):
        monkeypatch.setattr(f"transformers.quantizers.quantizer_{name}", lambda: False)
    monkeypatch.setattr("transformers.quantizers.quantizer_bnb_4bit.is_bitsandbytes_available", lambda: False)
    with pytest.raises(SuiteError, match=f"what runs weights quantised by {package}") as caught:
        load_target(str(folder))
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_tokenizer_is_refused(saved: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copied(saved("gpt2"), tmp_path, "tokenizer.json", "tokenizer_config.json")
    with pytest.raises(SuiteError, match="tokenizer"):
        load_target(str(folder))


def test_a_slow_tokenizer_is_refused(small_target: TargetModel) -> None:
    class Slow:
        is_fast = False

    with pytest.raises(SuiteError, match="Slow, which has none"):
        target_from(small_target.model, Slow(), "slow")


def test_running_out_of_memory_names_the_flag() -> None:
    for error in (
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried"),
        RuntimeError("not enough memory: you tried"),
    ):
        with (
            pytest.raises(MemoryShortageError, match="lower --batch-tokens"),
            memory_guard("room", "lower --batch-tokens"),
        ):
            raise error
    with pytest.raises(RuntimeError, match="another"), memory_guard("room", "lower it"):
        raise RuntimeError("another")


def test_end_tokens_come_from_the_generation_config_first(small_target: TargetModel) -> None:
    assert small_target.end_ids == {2}
    many = random_target(GPT2Config(vocab_size=128, n_embd=8, n_layer=1, n_head=1, eos_token_id=5), name="x")
    many.model.generation_config.eos_token_id = [7, 9]
    assert many.end_ids == {7, 9}
    assert many.max_tokens == 1024


def test_the_character_tokenizer_has_a_token_per_character() -> None:
    table = character_tokenizer()("a%b", return_offsets_mapping=True)
    assert table["offset_mapping"] == [(0, 0), (0, 1), (1, 2), (2, 3)]
    assert len(character_tokenizer(add_bos=False)("a%b")["input_ids"]) == 3


def test_the_librarys_bars_stay_away_unless_it_is_told_to_speak(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "_tqdm_active", True)
    made = miniature(FAMILIES.get("llama"), seed=0)
    made.model.save_pretrained(tmp_path)
    made.tokenizer.save_pretrained(tmp_path)
    load_target(str(tmp_path))
    assert "Loading weights" not in capsys.readouterr().err
    assert logging.is_progress_bar_enabled()
    before = logging.get_verbosity()
    logging.set_verbosity_info()
    try:
        load_target(str(tmp_path))
    finally:
        logging.set_verbosity(before)
    assert "Loading weights" in capsys.readouterr().err
