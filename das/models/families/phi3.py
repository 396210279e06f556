"""Phi 3, with queries, keys and values in one matrix and rotary half heads."""

from transformers import Phi3Config

from das.models.base import llama_shaped

FAMILY = llama_shaped(
    name="phi3",
    model_types=("phi3",),
    config=Phi3Config,
    # One window for all layers, as in Mistral.
    sliding_window=5,
    rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5},
    pad_token_id=2,
)
