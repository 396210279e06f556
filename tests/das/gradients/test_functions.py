"""Gradients of single steps by hand: the OR gate, norms in closed form, shares of a product."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from das.gradients.functions import (
    Attending,
    frozen_layer_norm,
    frozen_rms_norm,
    shared,
    tempered_attention,
    tempered_softmax,
)


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _tempered(scores: Tensor, temperature: float) -> Tensor:
    return tempered_softmax(lambda x: x.softmax(-1), scores, -1, temperature)


def test_either_of_two_scores_is_enough_and_the_gradient_sees_both() -> None:
    scores = torch.tensor([6.0, 6.0, 0.0], dtype=torch.float64, requires_grad=True)
    values = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    (plain,) = torch.autograd.grad((scores.softmax(-1) * values).sum(), scores)
    (tempered,) = torch.autograd.grad((_tempered(scores, 2.0) * values).sum(), scores)
    # By hand: p = e^6 / (2 e^6 + 1) and p (1 - 2 p); at temperature 2 the same with e^3.
    for found, power in ((plain, 6), (tempered, 3)):
        share = math.exp(power) / (2 * math.exp(power) + 1)
        assert found[:2].tolist() == pytest.approx([share * (1 - 2 * share)] * 2, rel=1e-12)
    assert float(plain[0]) == pytest.approx(6.18e-4, rel=1e-2)
    assert float(tempered[0]) == pytest.approx(1.185e-2, rel=1e-3)
    assert float(tempered[0] / plain[0]) == pytest.approx(19.17, abs=5e-3)

    def lost(*zeroed: int) -> float:
        changed = scores.detach().index_fill(0, torch.tensor(zeroed), 0.0)
        return float(((scores.detach().softmax(-1) - changed.softmax(-1)) * values).sum())

    assert lost(0) == pytest.approx(0.00123, abs=5e-6)
    assert lost(0, 1) == pytest.approx(0.3321, abs=5e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 100.0])
def test_rows_of_the_tempered_gradient_sum_to_nothing(temperature: float) -> None:
    scores, upstream = _random(4, 7).requires_grad_(), _random(4, 7, seed=1)
    value = _tempered(scores, temperature)
    (gradient,) = torch.autograd.grad((value * upstream).sum(), scores)
    assert torch.equal(value, scores.softmax(-1))
    assert float(gradient.abs().min()) > 0
    assert gradient.sum(-1).abs().max() < 1e-14
    soft = (scores / temperature).softmax(-1)
    expected = soft * (upstream - (soft * upstream).sum(-1, keepdim=True))
    torch.testing.assert_close(gradient, expected.detach(), atol=1e-15, rtol=1e-12)


def test_scores_that_are_all_hidden_have_no_gradient() -> None:
    scores = torch.full((2, 3), -torch.inf).index_fill(0, torch.tensor([1]), 1.0).requires_grad_()
    value = tempered_softmax(lambda x: x.softmax(-1).nan_to_num(0.0), scores, -1, 2.0)
    (gradient,) = torch.autograd.grad((value * torch.arange(3.0)).sum(), scores)
    assert gradient[0].tolist() == [0, 0, 0]
    assert float(gradient[1].abs().max()) > 0


@pytest.mark.parametrize(("causal", "mask"), [(False, None), (True, None), (False, "seen"), (False, "added")])
@pytest.mark.parametrize("n_keys", [4, 2])
def test_attention_is_its_three_steps(causal: bool, mask: str | None, n_keys: int) -> None:
    query, key, value = (
        _random(3, heads, 5, 6, seed=heads + place).requires_grad_()
        for place, heads in enumerate((4, n_keys, n_keys))
    )
    seen = torch.ones(5, 5, dtype=torch.bool).tril(1)
    masks = {None: None, "seen": seen, "added": _random(3, 1, 5, 5, seed=9)}
    how = Attending(masks[mask], causal, 0.3, n_keys < 4, 2.0)

    def fused(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(
            *(query, key, value, how.mask), is_causal=causal, scale=0.3, enable_gqa=how.grouped
        )

    keys, values = (each.repeat_interleave(4 // n_keys, 1) for each in (key, value))
    stepwise = _tempered(how.scores(query, keys), 2.0) @ values
    whole = tempered_attention(fused, query, key, value, how)
    assert torch.equal(whole, fused(query, key, value))
    torch.testing.assert_close(whole, stepwise, atol=1e-12, rtol=1e-10)
    upstream = _random(*whole.shape, seed=5)
    found = torch.autograd.grad((whole * upstream).sum(), (query, key, value))
    expected = torch.autograd.grad((stepwise * upstream).sum(), (query, key, value))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-10)


def test_frozen_norms_have_the_closed_forms() -> None:
    inputs, weight, bias = _random(4, 9).requires_grad_(), _random(9, seed=1), _random(9, seed=2)
    upstream = _random(4, 9, seed=3)
    scaled = upstream * weight

    def slope(value: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad((value * upstream).sum(), inputs, retain_graph=True)
        return gradient

    layer = frozen_layer_norm(
        lambda x: functional.layer_norm(x, (9,), weight, bias, 1e-5), inputs, weight, 1, 1e-5
    )
    sigma = (inputs.var(-1, correction=0, keepdim=True) + 1e-5).sqrt().detach()
    torch.testing.assert_close(slope(layer), (scaled - scaled.mean(-1, keepdim=True)) / sigma)
    root = frozen_rms_norm(lambda x: functional.rms_norm(x, (9,), weight, 1e-5), inputs, weight, 1, 1e-5)
    sigma = (inputs.square().mean(-1, keepdim=True) + 1e-5).sqrt().detach()
    torch.testing.assert_close(slope(root), scaled / sigma)
    # What autograd takes off besides is the part along the normed inputs.
    normed = (inputs / sigma).detach()
    along = normed * (normed * scaled).mean(-1, keepdim=True)
    plain = slope(functional.rms_norm(inputs, (9,), weight, 1e-5))
    torch.testing.assert_close(slope(root) - plain, along / sigma, atol=1e-6, rtol=1e-5)


def test_a_norm_without_weight_or_epsilon() -> None:
    inputs = _random(2, 5).requires_grad_()
    value = frozen_rms_norm(lambda x: functional.rms_norm(x, (5,)), inputs, None, 1, None)
    (gradient,) = torch.autograd.grad(value.sum(), inputs)
    sigma = inputs.square().mean(-1, keepdim=True).sqrt().expand(2, 5)
    torch.testing.assert_close(gradient, 1 / sigma.detach())


def test_shares_of_a_product_are_complete() -> None:
    query, key, value = (_random(6, seed=seed).requires_grad_() for seed in (0, 1, 2))

    def credit(parts: tuple[float, float, float]) -> tuple[float, float]:
        q, k, v = (shared(each, part) for each, part in zip((query, key, value), parts, strict=True))
        product = ((q * k).sum() * v).sum()
        slopes = torch.autograd.grad(product, (query, key, value))
        total = sum((each * slope).sum() for each, slope in zip((query, key, value), slopes, strict=True))
        return float(total.detach()), float(product.detach())

    total, product = credit((1.0, 1.0, 1.0))
    assert total == pytest.approx(3 * product)
    total, product = credit((0.25, 0.25, 0.5))
    assert total == pytest.approx(product)
