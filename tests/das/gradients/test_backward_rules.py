"""Ways back of whole models: values to the bit, gradients as a forward written out by hand has them, no trace
left, and refusal of what is not understood."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BloomConfig, FalconConfig, GPTBigCodeConfig
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from das.gradients.context import backward_rules
from das.gradients.rules import GIM, PLAIN, BackwardRules
from das.models import FAMILIES
from das.models.base import ModelFamily, TargetModel
from das.models.generic import infer_family
from das.models.miniature import miniature, random_target
from ravel.common.errors import SuiteError

TargetMaker = Callable[[str], TargetModel]
RULES = {
    "temperature": BackwardRules(temperature=2.0),
    "norms": BackwardRules(frozen_norms=True),
    "credit": BackwardRules(shared_credit=True),
    "gim": GIM,
}
ONE_WAY_ONLY = {"gptj": "eager", "gemma2": "eager"}
"""Families whose attention has but one implementation in transformers."""


@contextmanager
def _attending(target: TargetModel, implementation: str) -> Iterator[None]:
    before = target.model.config._attn_implementation
    if implementation != before:
        target.model.set_attn_implementation(implementation)
    try:
        yield
    finally:
        if implementation != before:
            target.model.set_attn_implementation(before)


def _ids(rows: int = 2, length: int = 9) -> Tensor:
    return torch.randint(3, 100, (rows, length), generator=torch.Generator().manual_seed(1))


def _logits(target: TargetModel, rules: BackwardRules, ids: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the logits, and the gradient of some of them in the embeddings."""
    embedded = target.model.get_input_embeddings()(_ids() if ids is None else ids)
    leaf = embedded.detach().requires_grad_()
    with backward_rules(target, rules):
        logits = target.model(inputs_embeds=leaf).logits
        (gradient,) = torch.autograd.grad(logits[:, -1, 5].sum() - logits[:, -3, 7].sum(), leaf)
    return logits.detach(), gradient


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).detach().abs().max() / other.detach().abs().max())


@pytest.mark.parametrize("name", FAMILIES.names())
def test_values_stay_to_the_bit_and_each_rule_has_its_effect(name: str, target_of: TargetMaker) -> None:
    target = target_of(name)
    found: dict[str, dict[str, Tensor]] = {}
    for implementation in ("sdpa", "eager"):
        if ONE_WAY_ONLY.get(name, implementation) != implementation:
            continue
        with _attending(target, implementation):
            logits, plain = _logits(target, PLAIN)
            _, cool = _logits(target, BackwardRules(temperature=1.0))
            assert _apart(cool, plain) < 1e-5
            found[implementation] = {}
            for rule, rules in RULES.items():
                ruled, gradient = _logits(target, rules)
                assert torch.equal(ruled, logits)
                assert _apart(gradient, plain) > 0.01
                found[implementation][rule] = gradient
    one, *others = found.values()
    for other in others:
        assert max(_apart(one[rule], other[rule]) for rule in RULES) < 1e-4


@pytest.mark.parametrize("name", FAMILIES.names())
def test_all_rules_off_is_autograd_to_the_bit(name: str, target_of: TargetMaker) -> None:
    target = target_of(name)
    logits, gradient = _logits(target, BackwardRules())
    leaf = target.model.get_input_embeddings()(_ids()).detach().requires_grad_()
    plain = target.model(inputs_embeds=leaf).logits
    (expected,) = torch.autograd.grad(plain[:, -1, 5].sum() - plain[:, -3, 7].sum(), leaf)
    assert torch.equal(logits, plain)
    assert torch.equal(gradient, expected)


# --- the slow way: a forward written out, whose autograd gradient is that of the rules


def _part(tensor: Tensor, part: float) -> Tensor:
    return tensor.detach() + part * (tensor - tensor.detach())


class _Plainly:
    """Steps of a model whose values are the model's and whose autograd gradients are those of some rules."""

    def __init__(self, rules: BackwardRules) -> None:
        self.rules = rules

    def part(self, tensor: Tensor, part: float) -> Tensor:
        return _part(tensor, part) if self.rules.shared_credit else tensor

    def root(self, inputs: Tensor, eps: float) -> Tensor:
        root = (inputs.square().mean(-1, keepdim=True) + eps).sqrt()
        return root.detach() if self.rules.frozen_norms else root

    def attention(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        query, key, value = self.part(query, 0.25), self.part(key, 0.25), self.part(value, 0.5)
        scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
        unseen = torch.ones(scores.shape[-2:]).triu(1).bool()
        scores = scores.masked_fill(unseen, -torch.inf)
        weights, temperature = scores.softmax(-1), self.rules.temperature
        if temperature is not None:
            soft = (scores / temperature).softmax(-1)
            # The softmax of scaled scores has 1 / temperature in its gradient, which the rule leaves out.
            weights = weights.detach() + temperature * (soft - soft.detach())
        return weights @ value


def _llama_by_hand(model: Any, embedded: Tensor, steps: _Plainly) -> Tensor:
    config, hidden = model.config, embedded
    width, n_heads, n_keys = 8, config.num_attention_heads, config.num_key_value_heads
    places = torch.arange(embedded.shape[1])[:, None]
    angles = places / 10000 ** (torch.arange(0, width, 2) / width)
    turns = torch.cat([angles, angles], dim=-1)

    def norm(module: nn.Module, inputs: Tensor) -> Tensor:
        return inputs / steps.root(inputs, config.rms_norm_eps) * module.weight

    def heads(linear: nn.Module, inputs: Tensor, count: int) -> Tensor:
        return linear(inputs).unflatten(-1, (count, width)).transpose(1, 2)

    def turned(inputs: Tensor) -> Tensor:
        first, second = inputs.chunk(2, dim=-1)
        return inputs * turns.cos() + torch.cat([-second, first], dim=-1) * turns.sin()

    for block in model.model.layers:
        inputs, own = norm(block.input_layernorm, hidden), block.self_attn
        query = turned(heads(own.q_proj, inputs, n_heads))
        key, value = turned(heads(own.k_proj, inputs, n_keys)), heads(own.v_proj, inputs, n_keys)
        key, value = (each.repeat_interleave(n_heads // n_keys, dim=1) for each in (key, value))
        hidden = hidden + own.o_proj(steps.attention(query, key, value).transpose(1, 2).flatten(2))
        inputs = norm(block.post_attention_layernorm, hidden)
        gate = steps.part(functional.silu(block.mlp.gate_proj(inputs)), 0.5)
        hidden = hidden + block.mlp.down_proj(gate * steps.part(block.mlp.up_proj(inputs), 0.5))
    logits: Tensor = model.lm_head(norm(model.model.norm, hidden))
    return logits


def _gpt2_by_hand(model: Any, embedded: Tensor, steps: _Plainly) -> Tensor:
    inner, n_heads = model.transformer, model.config.n_head
    hidden = embedded + inner.wpe.weight[: embedded.shape[1]]

    def norm(module: Any, inputs: Tensor) -> Tensor:
        centred = inputs - inputs.mean(-1, keepdim=True)
        return centred / steps.root(centred, module.eps) * module.weight + module.bias

    for block in inner.h:
        parts = block.attn.c_attn(norm(block.ln_1, hidden)).chunk(3, dim=-1)
        query, key, value = (part.unflatten(-1, (n_heads, -1)).transpose(1, 2) for part in parts)
        hidden = hidden + block.attn.c_proj(steps.attention(query, key, value).transpose(1, 2).flatten(2))
        inputs = block.mlp.c_fc(norm(block.ln_2, hidden))
        hidden = hidden + block.mlp.c_proj(functional.gelu(inputs, approximate="tanh"))
    logits: Tensor = model.lm_head(norm(inner.ln_f, hidden))
    return logits


@pytest.mark.parametrize("rule", ["plain", *RULES])
@pytest.mark.parametrize(("name", "by_hand"), [("llama", _llama_by_hand), ("gpt2", _gpt2_by_hand)])
def test_gradients_are_those_of_a_forward_written_out(
    name: str, by_hand: Callable[..., Tensor], rule: str, target_of: TargetMaker
) -> None:
    target, rules = target_of(name), {"plain": PLAIN, **RULES}[rule]
    logits, gradient = _logits(target, rules)
    leaf = target.model.get_input_embeddings()(_ids()).detach().requires_grad_()
    slow = by_hand(target.model, leaf, _Plainly(rules))
    (expected,) = torch.autograd.grad(slow[:, -1, 5].sum() - slow[:, -3, 7].sum(), leaf)
    assert _apart(logits, slow) < 1e-4
    assert _apart(gradient, expected) < 1e-4


# --- rows with padding, other dtypes


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3", "gemma2"])
def test_padding_and_other_rows_change_no_gradient(name: str, target_of: TargetMaker) -> None:
    target = target_of(name)
    row, embed = _ids(1, 6), target.model.get_input_embeddings()
    alone = embed(row).detach().requires_grad_()
    padded = torch.cat([embed(_ids(1, 3)), embed(row)], dim=1)
    padded = torch.cat([padded, embed(_ids(1, 9))]).detach().requires_grad_()
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[0, :3] = 0
    places = torch.stack([torch.tensor([0, 0, 0, 0, 1, 2, 3, 4, 5]), torch.arange(9)])
    with backward_rules(target, GIM):
        (expected,) = torch.autograd.grad(target.model(inputs_embeds=alone).logits[0, -1, 5], alone)
        logits = target.model(inputs_embeds=padded, attention_mask=mask, position_ids=places).logits
        (gradient,) = torch.autograd.grad(logits[0, -1, 5], padded)
    assert _apart(gradient[0, 3:], expected[0]) < 1e-4
    assert float(gradient[1].abs().max()) == 0 == float(gradient[0, :3].abs().max())


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_half_precision_keeps_its_values_and_dtype(name: str) -> None:
    target = miniature(FAMILIES.get(name))
    target.model.to(torch.bfloat16)
    logits, plain = _logits(target, PLAIN)
    ruled, gradient = _logits(target, GIM)
    assert torch.equal(ruled, logits)
    assert gradient.dtype == torch.bfloat16
    exact = miniature(FAMILIES.get(name))
    assert _apart(gradient.float(), _logits(exact, GIM)[1]) < 0.2 < _apart(plain.float(), gradient.float())


# --- no trace


def test_nothing_is_left_and_another_model_is_untouched() -> None:
    one, other = (miniature(FAMILIES.get("llama"), seed=seed) for seed in (0, 1))
    modules = [dict(vars(module)) for module in one.model.modules()]
    known = dict(ALL_ATTENTION_FUNCTIONS)
    _, plain = _logits(other, PLAIN)
    _, own = _logits(one, PLAIN)
    with backward_rules(one, GIM):
        assert torch.equal(_logits(other, PLAIN)[1], plain)
        assert dict(ALL_ATTENTION_FUNCTIONS) == known
    assert [dict(vars(module)) for module in one.model.modules()] == modules
    assert torch.equal(_logits(one, PLAIN)[1], own)


def test_nothing_is_left_after_an_error_either(small_target: TargetModel) -> None:
    _, plain = _logits(small_target, PLAIN)
    with pytest.raises(ZeroDivisionError), backward_rules(small_target, GIM):
        raise ZeroDivisionError
    assert torch.equal(_logits(small_target, PLAIN)[1], plain)


def test_a_block_within_a_block_is_an_error(small_target: TargetModel) -> None:
    with (
        pytest.raises(RuntimeError, match="in force for this model already"),
        backward_rules(small_target, GIM),
        backward_rules(small_target, GIM),
    ):
        pass
    _logits(small_target, GIM)


# --- what is not understood is refused by its path


def _without_norms() -> TargetModel:
    target = miniature(FAMILIES.get("gpt2"))
    target.model.transformer.h[2].ln_1 = nn.Linear(32, 32)
    target.model.transformer.h[2].ln_2 = nn.Identity()
    return target


class _OddNorm(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs / inputs.abs().amax(-1, keepdim=True)


class _Summed(nn.Module):
    """An attention whose products are sums that no rule knows."""

    def forward(self, hidden_states: Tensor, **kwargs: Any) -> tuple[Tensor, None]:
        weights = torch.einsum("bid,bjd->bij", hidden_states, hidden_states).softmax(-1)
        return torch.einsum("bij,bjd->bid", weights, hidden_states), None


def _gate_in_attention() -> TargetModel:
    target = miniature(FAMILIES.get("llama"))
    target.model.model.layers[1].self_attn.o_proj = nn.Identity()
    inner = target.model.model.layers[1].self_attn.forward

    def gated(hidden_states: Tensor, **kwargs: Any) -> tuple[Tensor, None]:
        return inner(hidden_states, **kwargs)[0] * hidden_states.sigmoid(), None

    target.model.model.layers[1].self_attn.forward = gated
    return target


def _with(name: str, path: str, module: nn.Module) -> TargetModel:
    target = miniature(FAMILIES.get(name))
    target.model.set_submodule(path, module)
    return target


def _lost_gate() -> TargetModel:
    target = miniature(FAMILIES.get("llama"))
    mlp = target.model.model.layers[3].mlp
    mlp.forward = lambda inputs: mlp.down_proj(torch.addcmul(0 * mlp.up_proj(inputs), *_both(mlp, inputs)))
    return target


def _both(mlp: Any, inputs: Tensor) -> tuple[Tensor, Tensor]:
    return functional.silu(mlp.gate_proj(inputs)), mlp.up_proj(inputs)


STRANGERS: dict[str, tuple[Callable[[], TargetModel], str, str]] = {
    "no norm": (_without_norms, "norms", r"transformer\.h\.2 \(GPT2Block\): which has none"),
    "odd norm": (
        lambda: _with("llama", "model.layers.2.input_layernorm", _OddNorm()),
        "norms",
        r"model\.layers\.2\.input_layernorm; got _OddNorm, which took 0 roots",
    ),
    "odd attention": (
        lambda: _with("llama", "model.layers.1.self_attn", _Summed()),
        "temperature",
        r"model\.layers\.1\.self_attn; got _Summed, .* softmax ran",
    ),
    "gate in an attention": (
        _gate_in_attention,
        "credit",
        r"model\.layers\.1\.self_attn; got LlamaAttention, .* attention, gate ran",
    ),
    "lost gate": (_lost_gate, "credit", r"model\.layers\.3\.mlp; got LlamaMLP, in which 0 products"),
}


@pytest.mark.parametrize("case", STRANGERS)
def test_what_is_not_understood_is_refused_by_its_path(case: str) -> None:
    make, rule, match = STRANGERS[case]
    with pytest.raises(SuiteError, match=match):
        _logits(make(), RULES[rule])


def test_an_unknown_model_whose_attentions_are_not_found_is_refused(target_of: TargetMaker) -> None:
    known = target_of("llama")
    blind = ModelFamily(
        name="blind",
        model_types=("llama",),
        blocks=known.family.blocks,
        attention=lambda block: block.get_submodule("no_such_part"),
        mlp=known.family.mlp,
        projection=known.family.projection,
        miniature=known.family.miniature,
    )
    target = TargetModel(known.model, known.tokenizer, blind, "a stranger", known.instrument)
    with pytest.raises(SuiteError, match=r"an attention in every block of a stranger.*model\.layers\.0"):
        _logits(target, GIM)


SMALL = {"vocab_size": 128, "hidden_size": 32, "initializer_range": 0.3}
UNKNOWN: dict[str, Callable[[], Any]] = {
    "biases that go by distance": lambda: BloomConfig(**SMALL, n_layer=2, n_head=4),
    "one key for all heads": lambda: GPTBigCodeConfig(
        vocab_size=128, n_embd=32, initializer_range=0.3, n_layer=2, n_head=4
    ),
    "attention and MLP side by side": lambda: FalconConfig(
        **SMALL, num_hidden_layers=2, num_attention_heads=4
    ),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_models_of_no_registered_family_follow_the_rules_too(case: str) -> None:
    target = random_target(UNKNOWN[case](), name=case)
    logits, plain = _logits(target, PLAIN)
    _, cool = _logits(target, BackwardRules(temperature=1.0))
    assert _apart(cool, plain) < 1e-5
    for rule, rules in RULES.items():
        ruled, gradient = _logits(target, rules)
        assert torch.equal(ruled, logits)
        assert _apart(gradient, plain) > 1e-3, rule


def test_a_model_whose_parts_a_program_found_follows_the_rules(target_of: TargetMaker) -> None:
    known = target_of("llama")
    family = infer_family(known.model)
    assert family is not None
    target = TargetModel(known.model, known.tokenizer, family, "inferred", known.instrument)
    assert torch.equal(_logits(target, GIM)[1], _logits(known, GIM)[1])
