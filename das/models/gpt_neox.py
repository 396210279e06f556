"""GPT-NeoX, the shape of the Pythia models: where the blocks and their parts are, and a miniature."""

from __future__ import annotations

from torch import nn
from transformers import GPTNeoXConfig

from das.models.base import ModelFamily, part

__all__ = ["FAMILY"]


def _blocks(model: nn.Module) -> nn.ModuleList:
    blocks: nn.ModuleList = model.gpt_neox.layers  # type: ignore[union-attr, assignment]
    return blocks


def _miniature() -> GPTNeoXConfig:
    return GPTNeoXConfig(
        vocab_size=128,
        max_position_embeddings=128,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=64,
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=2,
    )


FAMILY = ModelFamily(
    name="gpt_neox",
    model_types=("gpt_neox",),
    blocks=_blocks,
    attention=part("attention"),
    mlp=part("mlp"),
    projection=part("attention.dense"),
    n_heads=lambda config: int(config.num_attention_heads),
    miniature=_miniature,
)
