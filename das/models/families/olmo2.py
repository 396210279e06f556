"""OLMo 2: where the blocks and their parts are, and a miniature; the norms come after attention and MLP."""

from __future__ import annotations

from transformers import Olmo2Config

from das.models.base import ModelFamily, layers_at, part

__all__ = ["FAMILY"]


def _miniature() -> Olmo2Config:
    return Olmo2Config(
        vocab_size=128,
        max_position_embeddings=128,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        initializer_range=0.2,
        pad_token_id=2,
        bos_token_id=1,
        eos_token_id=2,
    )


FAMILY = ModelFamily(
    name="olmo2",
    model_types=("olmo2",),
    blocks=layers_at("model.layers"),
    attention=part("self_attn"),
    mlp=part("mlp"),
    projection=part("self_attn.o_proj"),
    miniature=_miniature,
)
