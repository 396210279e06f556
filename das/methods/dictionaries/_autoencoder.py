"""Sparse autoencoders trained on a model's own entity vectors: settings, training, metrics. It knows vectors;
which attribute is sought, and how latents are chosen, it does not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn, optim

from das.featurizers.dictionary import Activation, ActivationKind, Dictionary
from das.methods.common.base import NotApplicableError
from das.training.schedules import learning_rate_at
from ravel.common.config import Config

_WARMUP = 0.05
"""Share of the steps over which the learning rate rises."""
_SPARSITY_RAMP = 0.25
"""Share of the steps over which the penalty of a latent that fires rises from 0."""
_THRESHOLD_FACTOR = 10.0
"""How much faster the logarithm of a threshold moves than a weight."""
_LAST_REVIVAL = 0.75
"""Share of the steps after which no latent is revived, so that the revived ones have time to settle."""
_CHUNK = 1 << 16
"""Vectors that are in float64 at once."""
_MOST_ERRORS = 1 << 14
"""Most vectors among whose errors the revived latents' directions are drawn; of more they are sampled."""


class AutoencoderConfig(Config):
    """Settings of a dictionary: one trained here, or a pretrained one. Penalties and thresholds are in the
    units of training, where vectors have mean squared norm 1 around their mean."""

    architecture: ActivationKind = "top_k"
    """`relu` with an L1 penalty, `top_k`, or `jump_relu` with learned thresholds and an L0 penalty."""
    expansion: PositiveInt = 4
    """Latents per coordinate of a vector (reference: 4)."""
    k: PositiveInt = 16
    """Latents that fire per vector, for `top_k`."""
    l1_penalty: NonNegativeFloat = 0.03
    """Weight of the sum of a vector's features, for `relu`."""
    l0_penalty: NonNegativeFloat = 0.002
    """Weight of the number of a vector's features, for `jump_relu`."""
    bandwidth: PositiveFloat = 0.1
    """Width of the rectangle through which thresholds get gradients, for `jump_relu`."""
    first_threshold: PositiveFloat = 0.05
    """Every latent's threshold before training, for `jump_relu`."""
    steps: PositiveInt = 1000
    """Optimiser steps."""
    batch_size: PositiveInt = 128
    """Vectors per step."""
    learning_rate: PositiveFloat = 5e-3
    """Peak rate of Adam; it falls as a cosine."""
    revivals: NonNegativeInt = 6
    """How many times, evenly spread, latents that have not fired since the last time start anew."""
    training_vectors: PositiveInt = 8000
    """Most training vectors; more are sampled."""
    held_out_vectors: PositiveInt = 1000
    """Most vectors of validation prompts on which the dictionary is measured."""
    pretrained: str | None = Field(default=None, pattern=r"^lens:.+")
    """A pretrained dictionary in place of one trained here: `lens:RELEASE/SAE_ID` from the hub through the
    package sae-lens, or `lens:FOLDER` with that package's `cfg.json` and `sae_weights.safetensors`."""
    other_model: bool = False
    """Take a pretrained dictionary although its file names another model."""
    accept_unfit: bool = False
    """Take a pretrained dictionary although explained variance and L0 on the training vectors are out of
    bounds; the training log says so."""


@dataclass(frozen=True, slots=True)
class DictionaryMetrics:
    """How well a dictionary describes some vectors."""

    explained_variance: float
    """1 - sum of squared errors / sum of squares around the mean: 1 is perfect, 0 is the mean alone."""
    l0: float
    """Mean number of features per vector that are not 0."""
    dead: float
    """Share of features that are 0 on every vector."""

    def row(self, where: str) -> dict[str, float | int | str]:
        """Return the figures as entries of a log row, their names ending in `where`."""
        return {
            f"explained_variance_{where}": self.explained_variance,
            f"l0_{where}": self.l0,
            f"dead_{where}": self.dead,
        }


@torch.no_grad()
def dictionary_metrics(dictionary: Dictionary, vectors: Tensor) -> DictionaryMetrics:
    """Measure a dictionary on vectors [n, d_model]."""
    features = dictionary.encode(vectors)
    error = (vectors - dictionary.decode(features)).double().square().sum()
    spread = (vectors - vectors.mean(dim=0)).double().square().sum()
    fires = features != 0
    return DictionaryMetrics(
        explained_variance=1.0 - float(error / spread.clamp_min(1e-30)),
        l0=float(fires.sum(dim=1).double().mean()),
        dead=float((~fires.any(dim=0)).double().mean()),
    )


def train_dictionary(
    vectors: Tensor,
    config: AutoencoderConfig,
    seed: int,
    *,
    products: torch.dtype = torch.float32,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> Dictionary:
    """Train an autoencoder on vectors [n, d_model], of any floating dtype, and return it with nothing chosen,
    on the CPU. Matrix products are computed in `products`, all else in float32. `told` is given steps that
    are done, and all.

    Vectors are centred and divided by one scalar, the root of their mean squared norm, so that settings carry
    over from model to model; both are put into the weights afterwards. The loss is the squared error per
    vector, plus `l1_penalty * sum f` (relu; Bricken et al. 2023), nothing (top_k; Gao et al. 2024, arXiv
    2406.04093, equation 3) or `l0_penalty * #{f > 0}` (jump_relu; Rajamanoharan et al. 2024, arXiv
    2407.14435, equation 10). Rows of the decoder keep norm 1. Dead latents are revived as in Bricken et al.
    2023 (neuron resampling), for all three: an auxiliary loss gives a latent whose pre-activations are all
    negative no gradient. Raises NotApplicableError for vectors that are all the same.
    """
    centre, scale = _centre_and_scale(vectors)
    if not scale > 1e-12:
        raise NotApplicableError(
            expected="vectors that differ, to train an autoencoder on",
            came=f"{len(vectors)} equal ones",
            todo="choose another site",
        )
    training = _Training(_Normalised(vectors, centre, scale), config, seed)
    half = products != torch.float32
    # The cache would keep copies of weights that each step changes.
    cast = torch.autocast(vectors.device.type, products, enabled=half, cache_enabled=False)
    with torch.enable_grad(), cast:
        for step in range(config.steps):
            training.step(step)
            told(step + 1, config.steps)
    return training.finished(centre, scale)


def _centre_and_scale(vectors: Tensor) -> tuple[Tensor, float]:
    """Return the mean [d_model] in float32 and the root of the mean squared norm around it, both summed in
    float64 a chunk at a time."""
    total = sum(chunk.double().sum(dim=0) for chunk in vectors.split(_CHUNK))
    assert isinstance(total, Tensor)
    centre = (total / len(vectors)).float()
    squares = sum(
        float((chunk - centre).double().square().sum(dim=1).sum()) for chunk in vectors.split(_CHUNK)
    )
    return centre, math.sqrt(squares / len(vectors))


@dataclass(frozen=True, slots=True)
class _Normalised:
    """Vectors that are centred and scaled when they are asked for, so that they are in memory once."""

    vectors: Tensor
    """As they came, [n, d_model]."""
    centre: Tensor
    """What is taken away, [d_model]."""
    scale: float
    """What they are divided by."""

    def at(self, places: Tensor) -> Tensor:
        """Return some, [len(places), d_model] in float32."""
        return (self.vectors[places].float() - self.centre) / self.scale


class _Rectangle(torch.autograd.Function):
    """`before * (before > threshold)` and `(before > threshold)`, with the pseudo-derivatives by threshold of
    Rajamanoharan et al. 2024, equations 11 and 12. The step function passes nothing on to `before`."""

    @staticmethod
    def forward(ctx: Any, before: Tensor, threshold: Tensor, width: float) -> tuple[Tensor, Tensor]:
        """Return features and, per latent, whether it fires."""
        fires = (before > threshold).to(before.dtype)
        ctx.save_for_backward(before, threshold, fires)
        ctx.width = width
        return before * fires, fires

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        """Return gradients for `before` and `threshold`."""
        before, threshold, fires = ctx.saved_tensors
        by_feature, by_fires = gradients
        near = ((before - threshold).abs() < ctx.width / 2).to(before.dtype) / ctx.width
        return by_feature * fires, (-(threshold * by_feature + by_fires) * near).sum(dim=0), None


class _Training:
    """One autoencoder on its way: parameters, optimiser, what fired lately."""

    def __init__(self, vectors: _Normalised, config: AutoencoderConfig, seed: int) -> None:
        self.vectors = vectors
        self.n_vectors = len(vectors.vectors)
        self.config = config
        self.stream = torch.Generator().manual_seed(seed)
        width = vectors.vectors.shape[1]
        n_latents = config.expansion * width
        start = nn.functional.normalize(torch.randn(n_latents, width, generator=self.stream), dim=1)
        self.decoder = nn.Parameter(start.clone())
        self.encoder = nn.Parameter(start.T.contiguous().clone())
        self.encoder_bias = nn.Parameter(torch.zeros(n_latents))
        self.bias = nn.Parameter(torch.zeros(width))
        self.log_threshold = nn.Parameter(torch.full((n_latents,), math.log(config.first_threshold)))
        # A threshold starts at one value for every latent and may have to grow tenfold.
        self.optimiser = optim.Adam(
            [
                {"params": [self.decoder, self.encoder, self.encoder_bias, self.bias], "factor": 1.0},
                {"params": [self.log_threshold], "factor": _THRESHOLD_FACTOR},
            ],
            lr=config.learning_rate,
        )
        self.fired = torch.zeros(n_latents, dtype=torch.bool)
        self.batches = self._batches()

    def _batches(self) -> Iterator[Tensor]:
        """Yield batches without end: each pass over the vectors in a new order, the last batch whole."""
        size = min(self.config.batch_size, self.n_vectors)
        while True:
            order = torch.randperm(self.n_vectors, generator=self.stream)
            for start in range(0, len(order) - size + 1, size):
                yield self.vectors.at(order[start : start + size])

    def step(self, number: int) -> None:
        """Take one optimiser step and, where one is due, revive the dead."""
        config = self.config
        for group in self.optimiser.param_groups:
            group["lr"] = group["factor"] * learning_rate_at(
                number,
                peak=config.learning_rate,
                total_steps=config.steps,
                warmup_fraction=_WARMUP,
                schedule="cosine",
            )
        batch = next(self.batches)
        features, sparsity = self._encoded(batch)
        error = batch - features @ self.decoder - self.bias
        ramp = min(1.0, (number + 1) / (_SPARSITY_RAMP * config.steps))
        loss = error.square().sum(dim=1).mean() + ramp * sparsity
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        with torch.no_grad():
            self.decoder.copy_(nn.functional.normalize(self.decoder, dim=1))
            self.fired |= (features > 0).any(dim=0)
            if self._revival_is_due(number + 1):
                self._revive()

    def _encoded(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of a batch and the penalty for them."""
        config = self.config
        before = (batch - self.bias) @ self.encoder + self.encoder_bias
        if config.architecture == "jump_relu":
            features, fires = _Rectangle.apply(before, self.log_threshold.exp(), config.bandwidth)
            return features, config.l0_penalty * fires.sum(dim=1).mean()
        features = before.relu()
        if config.architecture == "relu":
            return features, config.l1_penalty * features.sum(dim=1).mean()
        values, places = features.topk(min(config.k, features.shape[1]), dim=1)
        return torch.zeros_like(features).scatter(1, places, values), features.new_zeros(())

    def _revival_is_due(self, done: int) -> bool:
        config = self.config
        if not config.revivals:
            return False
        every = max(1, int(_LAST_REVIVAL * config.steps / config.revivals))
        return done % every == 0 and done <= _LAST_REVIVAL * config.steps

    def _revive(self) -> None:
        """Point latents that have not fired since the last revival at what is badly explained: at the error
        of a vector drawn in proportion to its square. Adam's moments of the latent are cleared."""
        dead = (~self.fired).nonzero()[:, 0]
        self.fired.zero_()
        if not len(dead):
            return
        vectors = self.vectors.at(self._sampled())
        errors = vectors - self._encoded(vectors)[0] @ self.decoder - self.bias
        weights = errors.double().square().sum(dim=1) + 1e-12
        drawn = torch.multinomial(weights, len(dead), replacement=True, generator=self.stream)
        directions = nn.functional.normalize(errors[drawn], dim=1)
        self.decoder[dead] = directions
        self.encoder[:, dead] = directions.T
        self.encoder_bias[dead] = 0.0
        self.log_threshold[dead] = math.log(self.config.first_threshold)
        self._clear_moments(dead)

    def _sampled(self) -> Tensor:
        """Return the places of the vectors whose errors count: all, or as many as are held at once."""
        if self.n_vectors <= _MOST_ERRORS:
            return torch.arange(self.n_vectors)
        return torch.randperm(self.n_vectors, generator=self.stream)[:_MOST_ERRORS]

    def _clear_moments(self, dead: Tensor) -> None:
        for parameter in (self.decoder, self.encoder, self.encoder_bias, self.log_threshold):
            for name in ("exp_avg", "exp_avg_sq"):
                moments = self.optimiser.state.get(parameter, {}).get(name)
                if moments is None:
                    continue
                if parameter is self.encoder:
                    moments[:, dead] = 0.0
                else:
                    moments[dead] = 0.0

    def finished(self, centre: Tensor, scale: float) -> Dictionary:
        """Return the dictionary in the vectors' units: as decoder rows have norm 1, a feature is a length."""
        kind = self.config.architecture
        threshold = self.log_threshold.detach().exp() * scale if kind == "jump_relu" else None
        middle = centre + self.bias.detach() * scale
        return Dictionary(
            encoder=self.encoder.detach(),
            encoder_bias=self.encoder_bias.detach() * scale,
            decoder=self.decoder.detach(),
            decoder_bias=middle,
            centre=middle.clone(),
            mask=torch.zeros(self.decoder.shape[0]),
            activation=Activation(kind, self.config.k if kind == "top_k" else None, threshold),
        )
