"""Llama and its like, with grouped key-value heads."""

from transformers import LlamaConfig

from das.models.base import llama_shaped

FAMILY = llama_shaped(name="llama", model_types=("llama",), config=LlamaConfig)
