"""Phi 1 and 2, with attention and MLP side by side."""

from transformers import PhiConfig

from das.models.base import llama_shaped

FAMILY = llama_shaped(
    name="phi", model_types=("phi",), config=PhiConfig, projection="self_attn.dense", qk_layernorm=True
)
