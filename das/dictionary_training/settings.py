"""What a user decides of an autoencoder that is trained on running text."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from das.methods.dictionaries._autoencoder import AutoencoderConfig
from ravel.common.config import Config


class TextSaeConfig(Config):
    """Settings of an autoencoder trained on running text. Penalty and threshold are in the units of training,
    where states have mean squared norm 1 around their mean."""

    architecture: Literal["top_k", "jump_relu"] = "top_k"
    """`top_k`, or `jump_relu` with learned thresholds and an L0 penalty."""
    expansion: PositiveInt = 8
    """Latents per coordinate of a state."""
    k: PositiveInt = 32
    """Latents that fire per state, for `top_k`."""
    l0_penalty: NonNegativeFloat = 0.002
    """Weight of the number of latents that fire, for `jump_relu`."""
    bandwidth: PositiveFloat = 0.1
    """Width of the rectangle through which thresholds get gradients, for `jump_relu`."""
    first_threshold: PositiveFloat = 0.05
    """Every latent's threshold before training, for `jump_relu`."""
    row_tokens: int = Field(default=128, ge=2)
    """Tokens of a row that the model reads at once; the state of its first token is left out."""
    tokens: PositiveInt = 1_000_000
    """Most states that are trained on, and so the most that are in memory; rows are drawn by lot."""
    held_out_tokens: PositiveInt = 20_000
    """Most states of held-out documents on which the autoencoder is measured."""
    recovered_tokens: NonNegativeInt = 8192
    """Most held-out tokens on which it is measured what the model's loss becomes; 0: not at all."""
    norm_factor: PositiveFloat = 10.0
    """States whose norm is above so many times the median are left out besides: a few tokens that attention
    rests on (Sun et al. 2024, arXiv 2402.17762) would make up most of the squares."""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Dtype of the states between the model and the training."""
    products: Literal["float32", "bfloat16"] = "float32"
    """Dtype of the training's matrix products. A processor without instructions for bfloat16 takes many times
    as long in it; one that has them may gain."""
    epochs: PositiveInt = 1
    """Times through all states."""
    batch_size: PositiveInt = 512
    """States per optimiser step."""
    learning_rate: PositiveFloat = 2e-3
    """Peak rate of Adam; it falls as a cosine."""
    revivals: NonNegativeInt = 6
    """How many times, evenly spread, latents that have not fired since the last time start anew."""
    seed: int = 0
    """Root of every random stream."""

    def training(self, n_states: int) -> AutoencoderConfig:
        """Return the settings of the training on so many states."""
        return AutoencoderConfig(
            architecture=self.architecture,
            expansion=self.expansion,
            k=self.k,
            l0_penalty=self.l0_penalty,
            bandwidth=self.bandwidth,
            first_threshold=self.first_threshold,
            steps=self.epochs * max(1, n_states // self.batch_size),
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            revivals=self.revivals,
        )
