"""GPT-NeoX, the shape of the Pythia models: where the blocks and their parts are, and a miniature."""

from __future__ import annotations

from transformers import GPTNeoXConfig

from das.models.base import ModelFamily, layers_at, part

FAMILY = ModelFamily(
    name="gpt_neox",
    model_types=("gpt_neox",),
    blocks=layers_at("gpt_neox.layers"),
    attention=part("attention"),
    mlp=part("mlp"),
    projection=part("attention.dense"),
    miniature=lambda: GPTNeoXConfig(
        vocab_size=128,
        max_position_embeddings=128,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=64,
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=2,
    ),
)
