"""An autoencoder from running text: trained, and measured on documents held out; files are not known here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from das.dictionary_training.gathered import DTYPES, Told, kept_states
from das.dictionary_training.rows import TextRows
from das.dictionary_training.settings import TextSaeConfig
from das.dictionary_training.states import mean_loss
from das.featurizers.dictionary import Dictionary
from das.methods.dictionaries._autoencoder import DictionaryMetrics, dictionary_metrics, train_dictionary
from das.models.base import TargetModel
from das.sites import Site
from ravel.common.seeds import derive_seed


@dataclass(frozen=True, slots=True)
class Losses:
    """The model's mean cross entropy on held-out text, in nats per token, with other states at the site."""

    as_is: float
    """As the model is."""
    reconstructed: float
    """With what the autoencoder makes of the states that it was trained for."""
    zero: float
    """With zeros."""

    @property
    def recovered(self) -> float:
        """Share of the loss between zeros and the model that the reconstruction recovers: 1 is all of it."""
        return (self.zero - self.reconstructed) / (self.zero - self.as_is)


@dataclass(frozen=True, slots=True)
class TextSae:
    """An autoencoder trained on running text, and how good it is."""

    dictionary: Dictionary
    """It takes states as the model has them; nothing is chosen."""
    n_states: int
    """States that it was trained on."""
    n_held_out: int
    """States of other documents that it was measured on."""
    beyond: float
    """Share of held-out states that were left out because of their norm."""
    metrics: DictionaryMetrics
    """On held-out states."""
    losses: Losses | None
    """On held-out text; None where it was not asked for."""


def train_text_sae(
    target: TargetModel,
    site: Site,
    rows: TextRows,
    config: TextSaeConfig,
    *,
    folder: Path | None = None,
    told: Told = lambda stage, done, total: None,
) -> TextSae:
    """Train an autoencoder on the states of a site over running text.

    As `train_dictionary`: centred states over the root of their mean squared norm, decoder rows of norm 1,
    dead latents revived by resampling (Bricken et al. 2023). With a `folder` the states are kept there, and
    an equal call, or one whose training alone differs, takes them from it. Equal arguments give equal bits on
    the same hardware. Raises SuiteError for a site that the model lacks, NotApplicableError for equal states.
    """
    states = kept_states(target, site, rows, config, folder=folder, told=told)
    dictionary = train_dictionary(
        states.training,
        config.training(len(states.training)),
        derive_seed(config.seed, "text autoencoder", str(site)),
        products=DTYPES[config.products],
        told=partial(told, "steps"),
    )
    return TextSae(
        dictionary=dictionary,
        n_states=len(states.training),
        n_held_out=len(states.held_out),
        beyond=states.beyond,
        metrics=dictionary_metrics(dictionary, states.held_out.float()),
        losses=_losses(target, site, rows, config, _Reconstruction(dictionary, states.largest_norm)),
    )


@dataclass(frozen=True, slots=True)
class _Reconstruction:
    """What an autoencoder makes of states; those that it was not trained for stay."""

    dictionary: Dictionary
    """The autoencoder."""
    largest_norm: float
    """Norm beyond which a state stays as it is."""

    def __call__(self, states: Tensor) -> Tensor:
        """Return states [..., width]."""
        made = self.dictionary.decode(self.dictionary.encode(states))
        return torch.where(states.norm(dim=-1, keepdim=True) <= self.largest_norm, made, states)


def _losses(
    target: TargetModel, site: Site, rows: TextRows, config: TextSaeConfig, change: _Reconstruction
) -> Losses | None:
    some = rows.held_out[: config.recovered_tokens // config.row_tokens]
    if not some or config.row_tokens < 3:
        return None
    change.dictionary.to(target.device)
    found = Losses(
        as_is=mean_loss(target, site, some),
        reconstructed=mean_loss(target, site, some, change),
        zero=mean_loss(target, site, some, torch.zeros_like),
    )
    change.dictionary.cpu()
    return found
