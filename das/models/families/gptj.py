"""GPT-J, with attention and MLP side by side and rotary half heads."""

from __future__ import annotations

from transformers import GPTJConfig

from das.models.base import ModelFamily, layers_at, part

FAMILY = ModelFamily(
    name="gptj",
    model_types=("gptj",),
    blocks=layers_at("transformer.h"),
    attention=part("attn"),
    mlp=part("mlp"),
    projection=part("attn.out_proj"),
    miniature=lambda: GPTJConfig(
        vocab_size=128,
        n_positions=128,
        n_embd=32,
        n_layer=4,
        n_head=4,
        rotary_dim=4,
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=2,
    ),
)
