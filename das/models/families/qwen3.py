"""Qwen 3, with windows and normed queries."""

from transformers import Qwen3Config

from das.models.base import llama_shaped

FAMILY = llama_shaped(
    name="qwen3",
    model_types=("qwen3",),
    config=Qwen3Config,
    head_dim=12,
    use_sliding_window=True,
    sliding_window=3,
    layer_types=["sliding_attention"] * 2 + ["full_attention"] * 2,
)
