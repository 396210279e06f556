"""Which positions carry the source's answer before and after a swap of the whole vector, over an instance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from das.diagnostics.carriers import RowSwap, position_weights, weights_entropy
from das.engine.base.batch import PromptEncoder
from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.methods.common.base import NotApplicableError
from das.methods.common.contrast import ContrastPair
from das.sites import Site
from evaluation.report.common.token_scores import CarrierRow
from evaluation.scoring.resampled import mean_intervals


@dataclass(frozen=True, slots=True)
class Resampling:
    """How intervals over entities are drawn."""

    resamples: int
    """Times that entities are drawn again."""
    seed: int
    """Root of the draws."""
    batch_tokens: int
    """Tokens of one pass at most."""


def answer_carriers(
    engine: Engine, pairs: Sequence[ContrastPair], site: Site, featurizer: Featurizer, how: Resampling
) -> tuple[CarrierRow, ...]:
    """Return for each layer from the site's on how the activation of the source's answer is spread over the
    base's positions, without and with the interchange; nothing without pairs, or where the vocabulary
    projection reads no states."""
    if not pairs:
        return ()
    layers = range(site.layer, engine.target.n_layers)
    try:
        before, after, places = _weights(engine, pairs, site, featurizer, layers, how.batch_tokens)
    except NotApplicableError:
        return ()
    entities = [pair.forced.base.entity for pair in pairs]
    columns = np.stack([_columns(*each) for each in zip(before, after, places, strict=True)])
    rows = []
    for number, layer in enumerate(layers):
        values = columns[:, number]
        entropy, swapped, share, there = values.mean(axis=0).tolist()
        gains = (values[:, 3] - values[:, 2])[:, None]
        (interval,) = mean_intervals(gains, entities, resamples=how.resamples, seed=how.seed)
        rows.append(CarrierRow(layer, entropy, swapped, share, there, interval))
    return tuple(rows)


def _weights(
    engine: Engine,
    pairs: Sequence[ContrastPair],
    site: Site,
    featurizer: Featurizer,
    layers: Sequence[int],
    batch_tokens: int,
) -> tuple[list[Tensor], list[Tensor], list[int]]:
    target, encoder = engine.target, PromptEncoder(engine.target.tokenizer)
    bases = [pair.forced.base for pair in pairs]
    rows = [encoded.ids for encoded in encoder.encode([base.text for base in bases])]
    places = [encoder.position(base, site.position) for base in bases]
    sources = engine.collect([pair.forced.source for pair in pairs], [site])[site]
    answers, swap = [pair.swapped_id for pair in pairs], RowSwap(site, places, sources, featurizer)
    plain = position_weights(target, rows, answers, layers, batch_tokens=batch_tokens)
    swapped = position_weights(target, rows, answers, layers, swap=swap, batch_tokens=batch_tokens)
    return plain, swapped, places


def _columns(before: Tensor, after: Tensor, place: int) -> NDArray[np.float64]:
    """Return entropy and the share at the swapped position, each before and after, [n_layers, 4]."""
    parts = [weights_entropy(before), weights_entropy(after), before[:, place], after[:, place]]
    return torch.stack(parts, dim=1).numpy()
