"""StableLM: where the blocks and their parts are, and a miniature of the larger kind: attention and MLP side
by side, normed queries."""

from __future__ import annotations

from transformers import StableLmConfig

from das.models.base import ModelFamily, layers_at, part

__all__ = ["FAMILY"]


def _miniature() -> StableLmConfig:
    return StableLmConfig(
        vocab_size=128,
        max_position_embeddings=128,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        use_qkv_bias=True,
        qk_layernorm=True,
        use_parallel_residual=True,
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=2,
    )


FAMILY = ModelFamily(
    name="stablelm",
    model_types=("stablelm",),
    blocks=layers_at("model.layers"),
    attention=part("self_attn"),
    mlp=part("mlp"),
    projection=part("self_attn.o_proj"),
    miniature=_miniature,
)
