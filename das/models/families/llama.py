"""Llama and its like: where the blocks and their parts are, and a miniature with grouped key-value heads."""

from __future__ import annotations

from transformers import LlamaConfig

from das.models.base import ModelFamily, layers_at, part

__all__ = ["FAMILY"]


def _miniature() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=128,
        max_position_embeddings=128,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=2,
    )


FAMILY = ModelFamily(
    name="llama",
    model_types=("llama",),
    blocks=layers_at("model.layers"),
    attention=part("self_attn"),
    mlp=part("mlp"),
    projection=part("self_attn.o_proj"),
    miniature=_miniature,
)
