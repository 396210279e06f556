"""Qwen 2: where the blocks and their parts are, and a miniature with narrow windows below a global view."""

from __future__ import annotations

from transformers import Qwen2Config

from das.models.base import ModelFamily, layers_at, part

__all__ = ["FAMILY"]


def _miniature() -> Qwen2Config:
    return Qwen2Config(
        vocab_size=128,
        max_position_embeddings=128,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=48,
        use_sliding_window=True,
        sliding_window=3,
        layer_types=["sliding_attention", "sliding_attention", "full_attention", "full_attention"],
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=2,
    )


FAMILY = ModelFamily(
    name="qwen2",
    model_types=("qwen2",),
    blocks=layers_at("model.layers"),
    attention=part("self_attn"),
    mlp=part("mlp"),
    projection=part("self_attn.o_proj"),
    miniature=_miniature,
)
