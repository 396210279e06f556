"""Mistral, with one window for all layers."""

from transformers import MistralConfig

from das.models.base import llama_shaped

# Two tokens more than in the windows of others, so that the last block still reads the entity.
FAMILY = llama_shaped(
    name="mistral", model_types=("mistral",), config=MistralConfig, head_dim=12, sliding_window=5
)
