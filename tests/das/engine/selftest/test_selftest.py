"""The self-test of a target: every family keeps the laws, every wrong declaration breaks one, and models of
no known family are found, tested and served or refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig

from das.engine import DirectEngine, ForcedPair, ResumeEngine, make_engine
from das.engine.selftest.engine_check import check_engine
from das.engine.selftest.law import Law
from das.engine.selftest.selftest import SelfTest, proven, self_test
from das.featurizers import MaskedBasis
from das.featurizers.base import Featurizer
from das.models import FAMILIES, ModelFamily, TargetModel
from das.models.base import layers_at, part
from das.models.generic import infer_family
from das.models.instrument import Instrument
from das.models.load import load_target, target_from
from das.models.miniature import character_tokenizer, miniature, random_target
from das.out_of_memory import MemoryShortageError
from das.sites import STREAMS, Site
from ravel.common.errors import SuiteError

TargetMaker = Callable[[str], TargetModel]

TINY = {"vocab_size": 128, "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.2}
UNKNOWN: dict[str, dict[str, Any]] = {
    "falcon": {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "ffn_hidden_size": 48},
    "mpt": {"d_model": 32, "n_layers": 3, "n_heads": 4, "max_seq_len": 64},
    "starcoder2": {
        **{"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2},
        **{"intermediate_size": 48, "max_position_embeddings": 64, "sliding_window": 8},
    },
    "xglm": {
        **{"d_model": 32, "num_layers": 3, "attention_heads": 4, "ffn_dim": 48, "dropout": 0.0},
        **{"attention_dropout": 0.0, "max_position_embeddings": 64},
    },
    "mixtral": {
        **{"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2},
        **{"intermediate_size": 16, "max_position_embeddings": 64, "num_local_experts": 4},
    },
}
"""Families that transformers knows and the registry does not."""

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "OPT with norms after each sum": ("opt", {"do_layer_norm_before": False, "word_embed_proj_dim": 32}),
    "GPT-NeoX one after the other": ("gpt_neox", {"use_parallel_residual": False}),
    "StableLM one after the other": ("stablelm", {"use_parallel_residual": False, "qk_layernorm": False}),
    "Mistral without a window": ("mistral", {"sliding_window": None}),
    "Phi 3 without a window": ("phi3", {"sliding_window": None}),
    "Gemma 3 with its pattern of layers": (
        "gemma3",
        {"layer_types": ["sliding_attention"] * 3 + ["full_attention"]},
    ),
    "Qwen 3 without windows": ("qwen3", {"layer_types": ["full_attention"] * 4}),
}


def unknown_target(model_type: str) -> TargetModel:
    return random_target(AutoConfig.for_model(model_type, **TINY, **UNKNOWN[model_type]), name=model_type)


def declared_as(target: TargetModel, **changes: Any) -> TargetModel:
    """The target with another declaration, as if a program had found it."""
    return replace(target, family=replace(target.family, **changes))


def broken(target: TargetModel) -> set[str]:
    return {law.name for law in self_test(target).broken()}


# --- the laws hold


@pytest.mark.parametrize("family", FAMILIES.names())
def test_every_declared_family_keeps_every_law(target_of: TargetMaker, family: str) -> None:
    found = self_test(target_of(family))
    found.check()
    assert found.broken() == ()
    # Of the whole; for three blocks their heads, three of each stream, two of the whole; the ways into two,
    # and through these.
    assert len(found.laws) == 1 + 3 * (1 + 3 * len(STREAMS) + 2) + 2 * 2
    assert all(law.measured < 1e-5 for law in found.laws if not law.exceeds)
    assert all(law.measured > 1e-3 for law in found.laws if law.exceeds)


@pytest.mark.parametrize("variant", VARIANTS)
def test_other_shapes_of_a_family_keep_them_too(variant: str) -> None:
    family, changes = VARIANTS[variant]
    config = FAMILIES.get(family).miniature()
    for key, value in changes.items():
        setattr(config, key, value)
    target = random_target(config, name=variant)
    self_test(target).check()
    for engine in (DirectEngine(target), ResumeEngine(target)):
        check_engine(engine)


def test_half_precision_has_wider_bounds() -> None:
    model = miniature(FAMILIES.get("llama")).model.to(torch.bfloat16)
    target = target_from(model, character_tokenizer(), "half")
    found = self_test(target)
    found.check()
    assert {law.bound for law in found.laws} == {0.0, 0.05}


def test_nothing_is_left_behind(small_target: TargetModel) -> None:
    ids = torch.tensor([[1, 5, 6]])
    before = small_target.model(ids).logits
    hooks = [dict(m._forward_hooks) | dict(m._forward_pre_hooks) for m in small_target.model.modules()]
    state = torch.random.get_rng_state()
    self_test(small_target)
    assert torch.equal(small_target.model(ids).logits, before)
    left = [dict(m._forward_hooks) | dict(m._forward_pre_hooks) for m in small_target.model.modules()]
    assert left == hooks
    assert torch.equal(torch.random.get_rng_state(), state)


# --- each law can be broken


def blocks_of(change: Callable[[list[nn.Module]], list[nn.Module]]) -> Callable[[nn.Module], nn.ModuleList]:
    return lambda model: nn.ModuleList(change(list(layers_at("model.layers")(model))))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "blocks in another order": ({"blocks": blocks_of(lambda b: b[::-1])}, "each block runs"),
    "a block left out": ({"blocks": blocks_of(lambda b: b[:2] + b[3:])}, "nothing but the attention"),
    "MLPs for blocks": (
        {
            "blocks": blocks_of(lambda b: [x.mlp for x in b]),
            "attention": part("up_proj"),
            "mlp": part("up_proj"),
            "projection": part("gate_proj"),
        },
        "the whole residual stream",
    ),
    "attention and MLP exchanged": (
        {"attention": part("mlp"), "mlp": part("self_attn")},
        "nothing but the attention",
    ),
    "a norm for the attention": ({"attention": part("input_layernorm")}, "the heads are all"),
    "queries for heads": ({"projection": part("self_attn.q_proj")}, "the heads are all"),
    "too few heads": ({"n_heads": lambda config: 3}, "fill what the attention's output projection reads"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_declaration_breaks_a_law(target_of: TargetMaker, wrong: str) -> None:
    changes, law = WRONG[wrong]
    target = declared_as(target_of("llama"), **changes)
    assert any(law in name for name in broken(target)), broken(target)
    with pytest.raises(SuiteError, match=r"got .* of miniature-llama, read as llama.*add-a-model-family\.md"):
        self_test(target).check()


@contextmanager
def hooked(module: nn.Module, act: Callable[[Tensor], Tensor]) -> Iterator[None]:
    handle = module.register_forward_pre_hook(lambda m, inputs: (act(inputs[0]), *inputs[1:]))
    try:
        yield
    finally:
        handle.remove()


def test_a_model_that_looks_ahead_is_found_out(target_of: TargetMaker) -> None:
    target = target_of("llama")
    with hooked(target.model.model.layers[3], lambda hidden: hidden + hidden.mean(1, keepdim=True)):
        assert "a vector at one token changes no logits before it" in broken(target)


def test_a_way_past_the_stream_is_found_out(target_of: TargetMaker) -> None:
    """Here the vocabulary projection sees the embeddings too, which no block's output holds."""
    target, seen = target_of("llama"), []
    embed = target.model.get_input_embeddings().register_forward_hook(lambda m, i, out: seen.append(out))
    try:
        with hooked(target.model.lm_head, lambda hidden: hidden + seen[-1]):
            assert broken(target) == {"what stands after a block is the whole residual stream"}
    finally:
        embed.remove()


def test_a_part_without_effect_is_found_out() -> None:
    target = miniature(FAMILIES.get("llama"))
    with torch.no_grad():
        target.model.model.layers[3].self_attn.o_proj.weight.zero_()
    laws = self_test(target).broken()
    assert {law.where for law in laws} == {"attention_output.3", "head_output.3"}
    with pytest.raises(
        SuiteError, match=r"changes logits there or after it \(relative difference more than 0\); got 0 "
    ):
        self_test(target).check()


def test_a_block_that_runs_twice_is_found_out(target_of: TargetMaker) -> None:
    """The last one calls the first one: what is written there is written at two places."""
    target = declared_as(miniature(FAMILIES.get("llama")), inferred=True)
    first, *_, last = target.model.model.layers
    last.forward = lambda hidden_states, **named: first(hidden_states, **named)
    assert {law.where for law in self_test(target).broken()} >= {"block_output.0"}
    with pytest.raises(SuiteError, match="at block_output"):
        proven(target)


def test_what_is_no_number_is_no_proof() -> None:
    law = Law("it holds", "block_output.1", float("nan"), 1e-3)
    assert not law.holds
    with pytest.raises(
        SuiteError, match=r"it holds \(relative difference at most 0\.001\); got nan at block_output\.1"
    ):
        SelfTest("model", "family", (law,)).check()


# --- engines on a family nobody declared


class Off(DirectEngine):
    """An engine that is a little wrong."""

    name = "off"
    fallback = None

    def interchange_logits(self, pairs: Any, site: Site, featurizer: Featurizer | None) -> Tensor:
        return super().interchange_logits(pairs, site, featurizer) * 1.01


class Failing(DirectEngine):
    """An engine that this model does not suit."""

    name = "failing"
    fallback = None

    def interchange_logits(self, pairs: Any, site: Site, featurizer: Featurizer | None) -> Tensor:
        raise RuntimeError("shapes\ndo not match")


def test_an_engine_that_answers_otherwise_is_refused(small_target: TargetModel) -> None:
    check_engine(DirectEngine(small_target))
    with pytest.raises(
        SuiteError, match=r"the engine off answers .* at most 0\.001\); got 0\.01 at .*--engine direct"
    ):
        check_engine(Off(small_target))
    with pytest.raises(RuntimeError, match="shapes"):
        check_engine(Failing(small_target))


def test_an_engine_that_fails_at_resume_is_the_plain_one(
    small_target: TargetModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("das.engine.selftest.selftest.ResumeEngine", Off)
    found = proven(small_target)
    assert found.refused == {}
    assert found.no_resume is not None
    assert "at block_output.2@prompt_last that the engine off answers as one row alone" in found.no_resume
    assert "(relative difference 0.01, at most 0.001 expected)" in found.no_resume
    assert ResumeEngine(found).fallback == found.no_resume
    monkeypatch.setattr("das.engine.selftest.selftest.ResumeEngine", Failing)
    assert proven(small_target).no_resume == "shapes"


def test_running_out_of_memory_is_no_verdict_on_resume(
    small_target: TargetModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told by the error's class: its words may be anything, and may be in an error of another kind."""

    class Ending(Failing):
        def __init__(self, kind: type[SuiteError], came: str) -> None:
            super().__init__(small_target)
            self._error = kind(expected="room", came=came, todo="free some")

        def interchange_logits(self, pairs: Any, site: Site, featurizer: Featurizer | None) -> Tensor:
            raise self._error

    short = Ending(MemoryShortageError, "a full device")
    monkeypatch.setattr("das.engine.selftest.selftest.ResumeEngine", lambda target: short)
    with pytest.raises(MemoryShortageError, match="a full device"):
        proven(small_target)
    other = Ending(SuiteError, "words about being out of memory")
    monkeypatch.setattr("das.engine.selftest.selftest.ResumeEngine", lambda target: other)
    assert proven(small_target).no_resume == "words about being out of memory"


def test_a_model_that_no_engine_can_run_is_refused(
    small_target: TargetModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("das.engine.selftest.selftest.DirectEngine", Failing)
    with pytest.raises(SuiteError, match=r"the engine direct can run; got .*, which fails with: shapes\. "):
        proven(small_target)


def test_a_part_that_never_runs_is_refused_by_name(small_target: TargetModel) -> None:
    idle = nn.Linear(32, 32)
    found = proven(declared_as(small_target, mlp=lambda block: idle))
    assert found.streams == ("block_output", "attention_output", "head_output")
    assert "the module Linear takes no part in a forward pass" in found.refused["mlp_output"]
    with pytest.raises(SuiteError, match=r"a stream that miniature.* offers: block_output, attention_output"):
        DirectEngine(found).collect([], [Site(1, "mlp_output")])


def test_a_found_family_is_tested_when_an_engine_is_made(target_of: TargetMaker) -> None:
    wrong = {"attention": part("mlp"), "mlp": part("self_attn")}
    for name in ("direct", "resume", "reference"):
        made = make_engine(name, declared_as(target_of("llama"), inferred=True))
        assert (made.name, made.target.streams) == (name, STREAMS)
        made = make_engine(name, declared_as(target_of("llama"), inferred=True, **wrong))
        assert made.target.streams == ("block_output",)
    # What a person declared is tested here and where `prove` asks for it, not at every start.
    assert make_engine("direct", declared_as(target_of("llama"), **wrong)).target.streams == STREAMS
    made = make_engine("direct", declared_as(target_of("llama"), **wrong), prove=True)
    assert made.target.streams == ("block_output",)


def test_a_target_that_was_tested_is_not_tested_again(
    target_of: TargetMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker makes an engine anew after every job where its kind keeps a history."""
    target = make_engine("direct", target_of("llama"), prove=True).target
    monkeypatch.setattr("das.engine.selftest.selftest.self_test", lambda *_: pytest.fail("tested twice"))
    assert make_engine("resume", target, prove=True).target is target
    with pytest.raises(pytest.fail.Exception, match="tested twice"):
        make_engine("resume", target_of("llama"), prove=True)


# --- families found by looking through the modules


def places(family: ModelFamily, model: nn.Module) -> list[nn.Module]:
    return [
        find(block)
        for block in family.blocks(model)
        for find in (lambda block: block, family.attention, family.mlp, family.projection)
    ]


@pytest.mark.parametrize("name", FAMILIES.names())
def test_looking_through_a_declared_family_finds_what_is_declared(target_of: TargetMaker, name: str) -> None:
    target = target_of(name)
    found = infer_family(target.model)
    assert found is not None
    assert found.inferred
    assert found.name == f"generic:{target.model.config.model_type}"
    assert [id(m) for m in places(found, target.model)] == [
        id(m) for m in places(target.family, target.model)
    ]
    assert found.n_heads(target.model.config) == target.n_heads


@pytest.mark.parametrize("model_type", UNKNOWN)
def test_unknown_families_are_served_alike_by_every_engine(
    model_type: str, make_prompt: Callable[..., Any]
) -> None:
    target = unknown_target(model_type)
    assert target.family.name == f"generic:{model_type}"
    near, far = make_prompt("%s is a city in", "Rome"), make_prompt("The old town of %s is it", "Ulm")
    pairs = [ForcedPair(near, far, (5, 6, 7)), ForcedPair(far, near, (9,))]
    direct, *others = (make_engine(name, target) for name in ("direct", "resume", "reference"))
    for stream in direct.target.streams:
        site = Site(1, stream, head=2 if stream == "head_output" else None)
        swap = MaskedBasis(torch.ones(target.width(site)))
        expected = direct.interchange_logits(pairs, site, swap)
        assert not torch.equal(expected, direct.interchange_logits(pairs, site, None))
        for engine in others:
            found = engine.interchange_logits(pairs, site, swap)
            assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_an_unknown_family_loads_from_its_folder(tmp_path: Path) -> None:
    target = unknown_target("falcon")
    target.model.save_pretrained(tmp_path)
    target.tokenizer.save_pretrained(tmp_path)
    loaded = load_target(str(tmp_path))
    assert loaded.family.name == "generic:falcon"
    assert loaded.fingerprint == target.fingerprint
    with pytest.raises(SuiteError, match="a family of the registry, which has a miniature"):
        loaded.family.miniature()


# --- by part: what returns more than it should is refused, the rest is served


class Branched(nn.Module):
    """A block with a second branch that no declared part returns, as mixtures with shared experts have."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block, self.branch = block, nn.Linear(32, 32)

    def forward(self, hidden_states: Tensor, **kwargs: Any) -> Tensor:
        output = self.block(hidden_states, **kwargs)
        return output + torch.tanh(self.branch(output))


def branched() -> TargetModel:
    target = miniature(FAMILIES.get("llama"))
    layers = target.model.model.layers
    for layer in range(len(layers)):
        layers[layer] = Branched(layers[layer])
    return declared_as(
        target,
        attention=part("block.self_attn"),
        mlp=part("block.mlp"),
        projection=part("block.self_attn.o_proj"),
    )


def test_a_second_branch_costs_the_mlp_output_alone() -> None:
    found = self_test(branched())
    assert set(found.refusals()) == {"mlp_output"}
    assert "a block adds the outputs of its attention and its MLP" in found.refusals()["mlp_output"]


def test_an_mlp_that_returns_the_stream_too_costs_the_mlp_output_alone() -> None:
    """MPT adds the stream inside its MLP."""
    found = make_engine("direct", unknown_target("mpt")).target
    assert set(found.refused) == {"mlp_output"}


def test_an_attention_that_returns_the_stream_too_leaves_block_outputs() -> None:
    """BLOOM's attention and its MLP each return the sum with the stream."""
    config = AutoConfig.for_model("bloom", **TINY, hidden_size=32, n_layer=3, n_head=4)
    found = make_engine("direct", random_target(config, name="b")).target
    assert found.streams == ("block_output",)


def test_a_way_past_the_stream_is_refused_whole(target_of: TargetMaker) -> None:
    target, seen = declared_as(target_of("llama"), inferred=True), []
    embed = target.model.get_input_embeddings().register_forward_hook(lambda m, i, out: seen.append(out))
    try:
        with (
            hooked(target.model.lm_head, lambda hidden: hidden + seen[-1]),
            pytest.raises(SuiteError, match="what stands after a block is the whole residual stream"),
        ):
            make_engine("resume", target)
    finally:
        embed.remove()


def test_a_verdict_is_kept_beside_the_weights(
    tmp_path: Path, target_of: TargetMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("das.models.kept._SMALLEST", 0)
    target = replace(target_of("llama"), folder=tmp_path)
    idle = replace(target.family, mlp=lambda block: nn.Linear(32, 32))
    first = proven(replace(target, family=idle))
    assert set(first.refused) == {"mlp_output"}
    monkeypatch.setattr("das.engine.selftest.selftest.self_test", lambda *_: pytest.fail("tested twice"))
    assert proven(replace(target, family=idle)).refused == first.refused
    with pytest.raises(pytest.fail.Exception, match="tested twice"):
        proven(replace(target, family=idle, instrument=Instrument({"weights": "others"})))
    # A folder that merely bears the target's name is not where its weights are.
    with pytest.raises(pytest.fail.Exception, match="tested twice"):
        proven(replace(target, family=idle, folder=None, name=str(tmp_path)))


def test_streams_without_a_part_in_every_block_are_refused_by_name() -> None:
    model = miniature(FAMILIES.get("llama")).model
    del model.model.layers[2].mlp
    del model.model.layers[1].self_attn
    found = infer_family(model)
    assert found is not None
    assert list(found.blocks(model)) == list(model.model.layers)
    assert found.refused == {
        "attention_output": "some of its blocks have no attention",
        "mlp_output": "some of its blocks have no MLP",
        "head_output": "some of its blocks have no output projection of an attention",
    }
    with pytest.raises(LookupError, match="no MLP"):
        found.mlp(model.model.layers[0])


def test_heads_of_two_widths_are_told_apart_by_block(target_of: TargetMaker) -> None:
    model = miniature(FAMILIES.get("llama")).model
    model.model.layers[2].self_attn.o_proj = nn.Linear(64, 32, bias=False)
    target = declared_as(target_of("llama"), head_widths=infer_family(model).head_widths)  # type: ignore[union-attr]
    assert target.family.head_widths == (8, 8, 16, 8)
    sites = [Site(layer, "head_output", head=1) for layer in (1, 2)]
    assert [target.width(site) for site in sites] == [8, 16]
    assert [target.place(site).columns for site in sites] == [slice(8, 16), slice(16, 32)]
    model.model.layers[2].self_attn.o_proj = nn.Linear(63, 32, bias=False)
    assert infer_family(model).refused == {  # type: ignore[union-attr]
        "head_output": "what its output projections read is no 4 heads side by side"
    }


def test_without_a_vocabulary_projection_there_is_no_family() -> None:
    model = miniature(FAMILIES.get("llama")).model
    model.set_output_embeddings(None)
    assert infer_family(model) is None
    model = miniature(FAMILIES.get("llama")).model
    model.model.layers = nn.ModuleList()
    assert infer_family(model) is None
