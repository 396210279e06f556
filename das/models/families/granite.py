"""Granite, with factors on embeddings, attention, each sum and the logits."""

from transformers import GraniteConfig

from das.models.base import llama_shaped

FAMILY = llama_shaped(
    name="granite",
    model_types=("granite",),
    config=GraniteConfig,
    attention_bias=True,
    mlp_bias=True,
    embedding_multiplier=3.0,
    attention_multiplier=0.5,
    residual_multiplier=0.4,
    logits_scaling=2.0,
)
