"""Mistral: where the blocks and their parts are, and a miniature with one window for all layers."""

from __future__ import annotations

from transformers import MistralConfig

from das.models.base import ModelFamily, layers_at, part

__all__ = ["FAMILY"]


def _miniature() -> MistralConfig:
    return MistralConfig(
        vocab_size=128,
        max_position_embeddings=128,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        intermediate_size=48,
        # The family has one window for all layers. Two tokens more than in the others, so that the last block
        # still reads the entity.
        sliding_window=5,
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=2,
    )


FAMILY = ModelFamily(
    name="mistral",
    model_types=("mistral",),
    blocks=layers_at("model.layers"),
    attention=part("self_attn"),
    mlp=part("mlp"),
    projection=part("self_attn.o_proj"),
    miniature=_miniature,
)
