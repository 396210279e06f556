"""Qwen 2, with narrow windows below a global view."""

from transformers import Qwen2Config

from das.models.base import llama_shaped

FAMILY = llama_shaped(
    name="qwen2",
    model_types=("qwen2",),
    config=Qwen2Config,
    head_dim=8,
    use_sliding_window=True,
    sliding_window=3,
    layer_types=["sliding_attention"] * 2 + ["full_attention"] * 2,
)
