"""What a model family must declare and what a loaded target model offers; it knows nothing of features or
pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from das.sites import Site

__all__ = ["ModelFamily", "TargetModel"]


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """Where a family keeps its blocks; one file per family in `das/models/`, bound to `FAMILY`."""

    name: str
    """As in `ravel list models`: `gpt2`."""
    model_types: tuple[str, ...]
    """The `model_type` values of Hugging Face configs that this family serves."""
    blocks: Callable[[nn.Module], nn.ModuleList]
    """Returns the decoder blocks of a causal language model, in order."""
    miniature: Callable[[], Any]
    """Returns the config of a tiny random model for the contract tests: 4 layers, width at most 32,
    vocabulary 128."""


@dataclass(frozen=True, slots=True)
class TargetModel:
    """A loaded causal language model with its tokenizer. The model is frozen and in eval mode."""

    model: Any
    """A `transformers` causal language model."""
    tokenizer: Any
    """A fast tokenizer (character offsets are needed)."""
    family: ModelFamily
    """Where the blocks are."""
    name: str
    """The hub id or the folder's path as the user gave it."""
    fingerprint: str
    """SHA-256 over the config and samples of every weight; equal for equal models, whatever the folder."""

    @property
    def n_layers(self) -> int:
        """Number of decoder blocks."""
        return len(self.family.blocks(self.model))

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return int(self.model.config.hidden_size)

    def width(self, site: Site) -> int:
        """Length of the vector at a site."""
        return self.d_model

    @property
    def device(self) -> torch.device:
        """Where the embedding lies."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        dtype: torch.dtype = next(self.model.parameters()).dtype
        return dtype

    @property
    def max_tokens(self) -> int | None:
        """Longest row of tokens the model can read, or None if its config sets no bound."""
        limit = getattr(self.model.config, "max_position_embeddings", None)
        return None if limit is None else int(limit)

    @property
    def end_ids(self) -> frozenset[int]:
        """Token ids that end a text, from the generation config or else the config; may be empty."""
        for config in (getattr(self.model, "generation_config", None), self.model.config):
            ends = getattr(config, "eos_token_id", None)
            if ends is not None:
                return frozenset([ends] if isinstance(ends, int) else ends)
        return frozenset()
