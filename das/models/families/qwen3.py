"""Qwen 3: where the blocks and their parts are, and a miniature with windows and normed queries."""

from __future__ import annotations

from transformers import Qwen3Config

from das.models.base import ModelFamily, layers_at, part

__all__ = ["FAMILY"]


def _miniature() -> Qwen3Config:
    return Qwen3Config(
        vocab_size=128,
        max_position_embeddings=128,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        intermediate_size=48,
        use_sliding_window=True,
        sliding_window=3,
        layer_types=["sliding_attention", "sliding_attention", "full_attention", "full_attention"],
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=2,
    )


FAMILY = ModelFamily(
    name="qwen3",
    model_types=("qwen3",),
    blocks=layers_at("model.layers"),
    attention=part("self_attn"),
    mlp=part("mlp"),
    projection=part("self_attn.o_proj"),
    miniature=_miniature,
)
