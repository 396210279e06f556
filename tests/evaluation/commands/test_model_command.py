"""`ravel model fetch`: what it prints, and one paragraph with exit code 2 for what can't be had."""

from __future__ import annotations

import json
from pathlib import Path

import peft
import pytest
from cli_world import World, fit_args, ravel
from gguf_files import Vocabulary, byte_tokenizer, tiny_llama, write_gguf
from transformers import AutoModelForCausalLM

from das.models.load import load_target
from ravel.common.io import sha256_file


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAVEL_CACHE", str(tmp_path / "cache"))
    said = Vocabulary.of(byte_tokenizer("smollm"), "smollm")
    return write_gguf(tmp_path / "tiny.gguf", tiny_llama(len(said.tokens)), said)


def test_a_gguf_file_is_made_into_a_folder(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = ravel("model", "fetch", file, "--out", out, "--json")
    assert said.exit_code == 0, said.output
    expected = {
        **{"name": str(file), "folder": str(out), "source": "tiny.gguf", "licence": "mit"},
        "sha256": sha256_file(file),
    }
    assert json.loads(said.stdout) == expected
    assert "Licence: mit" in said.stderr
    assert load_target(str(out)).n_layers == 2
    in_words = ravel("model", "fetch", file)
    assert in_words.exit_code == 0, in_words.output
    assert "licence: mit" in in_words.stdout
    assert expected["sha256"] in in_words.stdout


def test_what_can_not_be_had_is_one_paragraph(file: Path, tmp_path: Path) -> None:
    cut, full = tmp_path / "cut.gguf", tmp_path / "full"
    cut.write_bytes(file.read_bytes()[:5000])
    full.mkdir()
    (full / "a.txt").write_text("a")
    before = sorted(tmp_path.rglob("*"))
    for args, words in (
        (("gemma-3-27m",), "did you mean gemma-3-270m?"),
        (("ann/model",), "HF_HUB_OFFLINE is set"),
        ((cut,), "a whole GGUF file"),
        ((cut, "--out", tmp_path / "out"), "a whole GGUF file"),
        ((file, "--out", full), "one with files in it"),
    ):
        said = ravel("model", "fetch", *args)
        assert (said.exit_code, said.stdout) == (2, ""), said.output
        assert words in said.stderr
        assert said.stderr.startswith("Expected ")
        assert len(said.stderr.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_an_adapter_makes_another_model_of_a_target(world: World, tmp_path: Path) -> None:
    """Of one that changes no answer too, for its weights count as the model's."""
    model = AutoModelForCausalLM.from_pretrained(world.model)
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    peft.get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    args = [*fit_args(world, tmp_path / "out", "no_op"), "--adapter", tmp_path / "adapter"]
    said = ravel(*args)
    assert said.exit_code == 2
    assert "weights, adapters" in said.stderr
    assert not (tmp_path / "out").exists()
