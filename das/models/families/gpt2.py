"""GPT-2 and the models of its shape: where the blocks and their parts are, and a miniature."""

from __future__ import annotations

from transformers import GPT2Config

from das.models.base import ModelFamily, layers_at, part

FAMILY = ModelFamily(
    name="gpt2",
    model_types=("gpt2",),
    blocks=layers_at("transformer.h"),
    attention=part("attn"),
    mlp=part("mlp"),
    projection=part("attn.c_proj"),
    miniature=lambda: GPT2Config(
        vocab_size=128,
        n_positions=128,
        n_embd=32,
        n_layer=4,
        n_head=4,
        initializer_range=0.2,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=1,
        eos_token_id=2,
    ),
)
