"""Gemma 2, with two kinds of layers, norms behind attention and MLP, and soft caps."""

from transformers import Gemma2Config

from das.models.base import llama_shaped

FAMILY = llama_shaped(
    name="gemma2",
    model_types=("gemma2",),
    config=Gemma2Config,
    head_dim=12,
    query_pre_attn_scalar=12,
    sliding_window=3,
    layer_types=["sliding_attention", "full_attention"] * 2,
    final_logit_softcapping=5.0,
    attn_logit_softcapping=10.0,
    pad_token_id=2,
)
