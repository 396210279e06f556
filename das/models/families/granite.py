"""Granite: where the blocks and their parts are, and a miniature with factors on embeddings, attention,
each sum and the logits."""

from __future__ import annotations

from transformers import GraniteConfig

from das.models.base import ModelFamily, layers_at, part

__all__ = ["FAMILY"]


def _miniature() -> GraniteConfig:
    return GraniteConfig(
        vocab_size=128,
        max_position_embeddings=128,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        attention_bias=True,
        mlp_bias=True,
        embedding_multiplier=3.0,
        attention_multiplier=0.5,
        residual_multiplier=0.4,
        logits_scaling=2.0,
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=2,
    )


FAMILY = ModelFamily(
    name="granite",
    model_types=("granite",),
    blocks=layers_at("model.layers"),
    attention=part("self_attn"),
    mlp=part("mlp"),
    projection=part("self_attn.o_proj"),
    miniature=_miniature,
)
