"""Models that no file declares: recurrent ones, hybrids, text parts of models that read images, and the
table of docs/models.md."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
import torch

from das.engine import DirectEngine, make_engine
from das.models.load import load_target
from das.sites import Site
from ravel.common.errors import SuiteError

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "model_classes.py"
NO_ATTENTION = "in its blocks no attention was found"
SOME = "some of its blocks have no attention"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("model_classes", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found
    spec.loader.exec_module(found)
    return found


@pytest.mark.parametrize(
    ("model_type", "kind", "refused"),
    [
        ("mamba", "exact as direct", {"attention_output": NO_ATTENTION}),
        ("jamba", "exact as direct", {"attention_output": SOME}),
        ("lfm2", "exact as direct", {"attention_output": SOME}),
        ("recurrent_gemma", "exact as direct", {"attention_output": SOME}),
        ("rwkv", "exact as direct", {}),
        ("bloom", "exact as direct", {}),
        ("openai-gpt", "exact as direct", {}),
        ("deepseek_v3", "exact with resume", {}),
        ("gemma3", "exact with resume", {}),
        ("qwen2_vl", "exact with resume", {}),
        ("llava", "exact with resume", {}),
    ],
)
def test_block_outputs_are_swapped_as_plain_hooks_swap_them(
    script: ModuleType, model_type: str, kind: str, refused: dict[str, str]
) -> None:
    with script.quiet():
        found = script.judge(model_type, script.unproved)
    assert found.kind == kind, found
    assert {stream: found.refused.get(stream) for stream in refused} == refused


def test_heads_are_as_wide_as_their_own_block_has_them(script: ModuleType) -> None:
    """Gemma 4's global layers have wider heads; DeepSeek's heads hand on values, which `head_dim` is not."""
    with script.quiet():
        gemma, deepseek = script.tiny_target("gemma4_text"), script.tiny_target("deepseek_v3")
    for target in (gemma, deepseek):
        for layer in range(target.n_layers):
            place = target.place(Site(layer, "head_output", head=target.n_heads - 1))
            assert place.columns is not None
            assert place.columns.stop == place.module.in_features
    assert "head_output" not in gemma.refusals


def test_several_streams_side_by_side_are_refused_in_words(script: ModuleType) -> None:
    with script.quiet():
        target = script.tiny_target("gemma3n_text")
        with pytest.raises(
            SuiteError, match=r"vectors are of shape .* rather than \[rows, tokens, features\]"
        ):
            make_engine("direct", target)


def test_a_site_on_a_stream_that_was_not_found_is_refused_in_words(script: ModuleType) -> None:
    with script.quiet():
        target = script.tiny_target("mamba")
    with pytest.raises(
        SuiteError, match=r"offers: block_output; got attention_output.*no attention was found"
    ):
        target.check(Site(1, "attention_output"))
    assert target.n_heads == 0


@pytest.mark.parametrize("model_type", ["gemma3", "llava", "qwen2_vl"])
def test_a_wrapper_loads_from_its_folder_and_is_its_text_model(
    script: ModuleType, tmp_path: Path, model_type: str
) -> None:
    with script.quiet():
        target = script.tiny_target(model_type)
        target.model.save_pretrained(tmp_path)
        target.tokenizer.save_pretrained(tmp_path)
        loaded = load_target(str(tmp_path))
    assert loaded.fingerprint == target.fingerprint
    assert type(loaded.model) is type(target.model)
    assert (loaded.d_model, loaded.n_layers, loaded.n_heads, loaded.max_tokens) == (32, 4, 4, 128)
    assert loaded.config is loaded.model.config.text_config
    ids = torch.tensor([[1, 5, 6, 7]])
    whole = loaded.model(input_ids=ids).logits
    inner = loaded.model.lm_head(loaded.model.model.language_model(input_ids=ids).last_hidden_state)
    assert torch.equal(whole, inner)
    assert DirectEngine(loaded).target is loaded


@pytest.mark.long
@pytest.mark.slow
def test_as_many_classes_are_exact_as_the_page_says(script: ModuleType) -> None:
    wanted = script.wanted_types()
    found = dict(zip(wanted, script.verdicts(wanted, make_engine), strict=True))
    counts, said = (
        Counter(one.kind for one in found.values()),
        script.counts_of(script.PAGE.read_text("utf-8")),
    )
    assert {name: one for name, one in found.items() if one.kind == script.WRONG} == {}
    assert counts[script.RESUMED] >= said[script.RESUMED]
    assert counts[script.RESUMED] + counts[script.DIRECT] >= said[script.RESUMED] + said[script.DIRECT] >= 110
