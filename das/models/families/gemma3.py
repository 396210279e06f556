"""Gemma 3, text only, with two kinds of layers, each with its own rotary base."""

from transformers import Gemma3TextConfig

from das.models.base import llama_shaped

FAMILY = llama_shaped(
    name="gemma3",
    model_types=("gemma3_text",),
    config=Gemma3TextConfig,
    head_dim=12,
    query_pre_attn_scalar=12,
    sliding_window=3,
    layer_types=["sliding_attention", "full_attention"] * 2,
    rope_parameters={
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    },
    pad_token_id=2,
)
