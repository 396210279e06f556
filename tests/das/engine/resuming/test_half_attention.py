"""Attention in half precision: in float32 where gradients are wanted, else as it is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention as attention

from das.engine.resuming.half_attention import trained_attention


def heads(dtype: torch.dtype) -> list[Tensor]:
    stream = torch.Generator().manual_seed(1)
    return [torch.randn(2, 3, 5, 16, generator=stream).to(dtype).requires_grad_() for _ in range(3)]


def attended(parts: list[Tensor], mask: Tensor, hidden: Tensor) -> Tensor:
    query, key, value = parts
    with trained_attention(hidden):
        return attention(query, key, value, attn_mask=mask)


@pytest.mark.parametrize("additive", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_with_gradients_it_is_that_of_float32_rounded(dtype: torch.dtype, additive: bool) -> None:
    parts, seen = heads(dtype), torch.ones(5, 5, dtype=torch.bool).tril()
    mask = torch.zeros(5, 5, dtype=dtype).masked_fill(~seen, -1e4) if additive else seen
    found = attended(parts, mask, parts[0])
    full = [part.detach().float().requires_grad_() for part in parts]
    expected = attention(full[0], full[1], full[2], attn_mask=mask.float() if additive else mask)
    assert found.dtype == dtype
    assert torch.equal(found, expected.to(dtype))
    slopes = torch.autograd.grad(found.float().square().sum(), parts)
    wanted = torch.autograd.grad(expected.to(dtype).float().square().sum(), full)
    for slope, one in zip(slopes, wanted, strict=True):
        assert slope.dtype == dtype
        torch.testing.assert_close(slope, one.to(dtype))


def test_without_gradients_and_in_float32_nothing_changes() -> None:
    half, full, mask = heads(torch.bfloat16), heads(torch.float32), torch.ones(5, 5, dtype=torch.bool)
    still = half[0].detach()
    assert torch.equal(attended(half, mask, still), attention(*half, attn_mask=mask))
    assert torch.equal(attended(full, mask, full[0]), attention(*full, attn_mask=mask))
    with torch.no_grad():
        assert torch.equal(attended(half, mask, half[0]), attention(*half, attn_mask=mask))
