"""An autoencoder's features with a choice among them; what the autoencoder loses stays with the base."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, final, get_args

import torch
from torch import Tensor

from das.featurizers.base import Featurizer
from ravel.common.errors import SuiteError, one_of

ActivationKind = Literal["relu", "top_k", "jump_relu"]
DICTIONARY_TENSORS = ("encoder", "encoder_bias", "decoder", "decoder_bias", "centre")
"""Tensors of every dictionary besides its mask."""


@dataclass(frozen=True, slots=True)
class Activation:
    """What an encoder's pre-activations go through; exactly the fields that the kind needs are set."""

    kind: ActivationKind = "relu"
    """`relu`; `top_k`: the k largest, through a ReLU; `jump_relu`: whatever exceeds its threshold,
    unchanged."""
    k: int | None = None
    """Features kept per vector; for `top_k` only."""
    threshold: Tensor | None = None
    """Threshold per feature, [n_features]; for `jump_relu` only (Rajamanoharan et al. 2024, arXiv
    2407.14435)."""

    def __post_init__(self) -> None:
        one_of("activation", self.kind, get_args(ActivationKind))
        if (self.k is not None) != (self.kind == "top_k") or (self.k is not None and self.k < 1):
            raise SuiteError(
                expected="k of at least 1 for top_k, and no k for any other activation",
                came=f"k {self.k} for {self.kind}",
                todo="change one of the two",
            )
        if (self.threshold is not None) != (self.kind == "jump_relu"):
            raise SuiteError(
                expected="thresholds for jump_relu, and none for any other activation",
                came=f"{'none' if self.threshold is None else 'thresholds'} for {self.kind}",
                todo="change one of the two",
            )


@final
class Dictionary(Featurizer):
    """Features `act((x - centre) @ encoder + encoder_bias)`, decoded as `f @ decoder + decoder_bias`.

    As sparse autoencoders are (Bricken et al. 2023; top-k: Gao et al. 2024, arXiv 2406.04093), except that
    the reconstruction error is not dropped: `Featurizer.interchange` leaves it with the base, unless
    `keeps_error` is False.
    """

    kind = "dictionary"

    encoder: Tensor
    """[d_model, n_features]."""
    encoder_bias: Tensor
    """[n_features]."""
    decoder: Tensor
    """[n_features, d_model]."""
    decoder_bias: Tensor
    """[d_model]."""
    centre: Tensor
    """What is taken from a vector before encoding, [d_model]; zeros for most families of autoencoders."""
    weights: Tensor
    """How much of each feature is swapped, [n_features], from 0 to 1."""
    threshold: Tensor | None
    """Threshold per feature, [n_features], for `jump_relu`."""

    def __init__(
        self,
        *,
        encoder: Tensor,
        encoder_bias: Tensor,
        decoder: Tensor,
        decoder_bias: Tensor,
        mask: Tensor,
        activation: Activation,
        centre: Tensor | None = None,
        keeps_error: bool = True,
    ) -> None:
        """Keep all in float32. Raises SuiteError if a shape does not fit or the mask leaves [0, 1]."""
        super().__init__()
        self.keeps_error = keeps_error
        middle = torch.zeros_like(decoder_bias) if centre is None else centre
        tensors = {
            "encoder": encoder,
            "encoder_bias": encoder_bias,
            "decoder": decoder,
            "decoder_bias": decoder_bias,
            "centre": middle,
            "weights": mask,
        }
        if activation.threshold is not None:
            tensors["threshold"] = activation.threshold
        _check_shapes(tensors)
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.float().contiguous())
        if activation.threshold is None:
            self.register_buffer("threshold", None)
        self.activation: ActivationKind = activation.kind
        self.k = activation.k

    @property
    def width(self) -> int:
        """Length d_model of the vectors."""
        return int(self.encoder.shape[0])

    def encode(self, vectors: Tensor) -> Tensor:
        """Return the features: [..., d_model] to [..., n_features]."""
        before = (vectors - self.centre) @ self.encoder + self.encoder_bias
        if self.threshold is not None:
            return before * (before > self.threshold)
        positive = before.relu()
        if self.k is None or self.k >= positive.shape[-1]:
            return positive
        values, places = positive.topk(self.k, dim=-1)
        return torch.zeros_like(positive).scatter(-1, places, values)

    def decode(self, features: Tensor) -> Tensor:
        """Return the reconstruction: [..., n_features] to [..., d_model]."""
        return features @ self.decoder + self.decoder_bias

    def mask(self) -> Tensor:
        """Return the weight of each feature, [n_features]."""
        return self.weights

    @property
    def n_features(self) -> int:
        """Number of features, chosen or not."""
        return int(self.encoder.shape[1])

    def settings(self) -> dict[str, Any]:
        """Return activation, k and whether the error is kept."""
        return {"activation": self.activation, "k": self.k, "keeps_error": self.keeps_error}

    def with_mask(self, mask: Tensor, *, keeps_error: bool = True) -> Dictionary:
        """Return the same dictionary with another choice, `mask` [n_features], through which gradients pass.
        Tensors are shared, not copied. Raises SuiteError for a mask of another shape or outside [0, 1]."""
        return Dictionary(
            **{name: getattr(self, name) for name in DICTIONARY_TENSORS},
            mask=mask,
            activation=Activation(self.activation, self.k, self.threshold),
            keeps_error=keeps_error,
        )

    def pruned(self) -> Dictionary:
        """Return a dictionary of the features with a weight above 0 only, that swaps as this one does.

        What is not swapped cancels out where the error is kept, so that a dictionary of which few features
        are chosen needs little room and time. With `top_k` features compete, and without the error all of
        them count: then the dictionary itself is returned.
        """
        if self.activation == "top_k" or not self.keeps_error:
            return self
        kept = (self.weights > 0).nonzero()[:, 0]
        threshold = None if self.threshold is None else self.threshold[kept]
        return Dictionary(
            encoder=self.encoder[:, kept],
            encoder_bias=self.encoder_bias[kept],
            decoder=self.decoder[kept],
            decoder_bias=self.decoder_bias,
            centre=self.centre,
            mask=self.weights[kept],
            activation=Activation(self.activation, self.k, threshold),
        )


def _check_shapes(tensors: dict[str, Tensor]) -> None:
    encoder = tensors["encoder"]
    d, m = encoder.shape if encoder.ndim == 2 else (-1, -1)
    expected = {
        "encoder": (d, m),
        "encoder_bias": (m,),
        "decoder": (m, d),
        "decoder_bias": (d,),
        "centre": (d,),
        "weights": (m,),
        "threshold": (m,),
    }
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != expected[name]:
            raise SuiteError(
                expected=f"{name} of shape {list(expected[name])}, for the encoder maps {d} to {m}",
                came=f"the shape {list(tensor.shape)}",
                todo="transpose or correct that tensor",
            )
    weights = tensors["weights"].detach()
    if not bool(((weights >= 0) & (weights <= 1)).all()):
        raise SuiteError(
            expected="a mask with entries from 0 to 1", came="entries outside that range", todo="clip it"
        )
