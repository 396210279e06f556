"""Measures on the loaded weights whether a block adds what its attention and MLP return to the residual
stream as it is: without a norm, a factor or a further branch. It knows no family's norms or factors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from das.engine.base.hooks import captured
from das.models.base import Place, TargetModel
from das.models.configs import quantisation_config
from das.sites import Site

_TOKENS = 6
"""Tokens of each of the two made-up rows."""


@dataclass(frozen=True, slots=True)
class BlockTerms:
    """What goes into a block, what its parts return and what leaves it; [2, tokens, d_model] in float32."""

    before: Tensor
    """The residual stream that the block reads."""
    attention: Tensor
    """What the attention module returns."""
    mlp: Tensor
    """What the MLP module returns."""
    after: Tensor
    """The residual stream that the block leaves."""

    def miss(self) -> float:
        """Return how far `after` is from `before + attention + mlp`: the largest error of a coordinate,
        relative to the sum of the three absolute values there.

        Relative to the coordinate, so that a few very large ones (which many models have at their first
        tokens) hide nothing, and rounding stays a small multiple of the dtype's precision.
        """
        found = self.before + self.attention + self.mlp
        size = self.before.abs() + self.attention.abs() + self.mlp.abs()
        return float(((self.after - found).abs() / size.clamp_min(1e-30)).max())


def adds_as_is(target: TargetModel, layer: int) -> bool:
    """Return whether block `layer` leaves `stream in + attention output + MLP output`, nothing else.

    False where a norm or a factor stands between a module and the stream (Gemma 2, OLMo 2, Granite), where a
    module returns the stream with it, and where a further branch is added. The bound is 1e-3 in float32 and
    0.05 in the half-width dtypes, as for the self-test.
    """
    try:
        return block_terms(target, layer).miss() <= tolerance(target)
    except (LookupError, RuntimeError):
        # A part that takes no part, or vectors of another shape: then it is not shown to hold.
        return False


def block_terms(target: TargetModel, layer: int) -> BlockTerms:
    """Return the terms of block `layer` on `made_up_rows`, after one forward pass.

    Raises LookupError for a block that is called without its stream as first argument, and for a part that
    takes no part in the pass; SuiteError for a layer that the model lacks. Writes nothing to the target.
    """
    block, rows = target.place(Site(layer)).module, made_up_rows(target)
    places = {
        "before": Place(block, "input"),
        "attention": Place(target.family.attention(block)),
        "mlp": Place(target.family.mlp(block)),
        "after": Place(block),
    }
    everywhere = dict.fromkeys(places, torch.arange(rows.shape[1]).repeat(len(rows), 1))
    with torch.no_grad(), captured(places, everywhere) as found:
        target.model(input_ids=rows, use_cache=False)
    return BlockTerms(**{name: found[name] for name in places})


def made_up_rows(target: TargetModel) -> Tensor:
    """Return two rows of token ids, [2, 6], spread over the vocabulary and different at every token."""
    vocabulary = int(target.model.get_input_embeddings().num_embeddings)
    steps = torch.arange(1, 2 * _TOKENS + 1) * (vocabulary // (2 * _TOKENS + 1))
    return steps.view(_TOKENS, 2).T.contiguous().to(target.device)


def tolerance(target: TargetModel) -> float:
    """Return how far two ways to the same number may lie apart, relative to the largest."""
    # Quantised weights are multiplied in 16 bits or fewer, whatever dtype the others have.
    quantised = quantisation_config(target.model.config) is not None
    return 1e-3 if target.dtype in (torch.float32, torch.float64) and not quantised else 0.05
