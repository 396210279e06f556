"""Whether a pretrained dictionary holds on this model's own vectors, by explained variance and L0."""

from __future__ import annotations

from torch import Tensor

from das.methods.common.base import NotApplicableError
from das.methods.dictionaries._autoencoder import DictionaryMetrics, dictionary_metrics
from das.methods.dictionaries._pretrained_sae import Pretrained, without_mean
from das.methods.dictionaries._published_saes import Published

LEAST_EXPLAINED = 0.3
"""Explained variance below which a dictionary is not that of the vectors, where none was published. Low,
because vectors of one kind of token vary less, and otherwise, than those of running text."""
_SHARE_OF_PUBLISHED = 0.5
"""Where a figure was published, the share of it that has to be reached, for the same reason."""
_L0_FACTOR = 10.0
"""By how much L0 may be above or below a published one."""


def measured(pretrained: Pretrained, vectors: Tensor) -> DictionaryMetrics:
    """Measure a pretrained dictionary on vectors [n, d_model] as it reads them."""
    return dictionary_metrics(pretrained.dictionary, pretrained.as_read(vectors))


def check_fit(
    pretrained: Pretrained, metrics: DictionaryMetrics, vectors: Tensor | None = None, *, accept_unfit: bool
) -> tuple[str, ...]:
    """Return what is to be said of a dictionary with these figures, a sentence each.

    Where it is unknown whether the autoencoder reads vectors without their mean, `vectors` [n, d_model] are
    measured in that way too. Raises NotApplicableError with the figures if they are out of bounds, unless
    `accept_unfit`; then a sentence says so.
    """
    figures = f"explained variance {metrics.explained_variance:.3f}, L0 {metrics.l0:.1f}"
    fault = fault_of_fit(metrics, pretrained.dictionary.n_features, pretrained.published)
    notes = (f"On this model's own training vectors: {figures}.", *pretrained.notes)
    if pretrained.unsure_of_mean and vectors is not None:
        other = dictionary_metrics(pretrained.dictionary, without_mean(vectors))
        notes = (*notes, f"Without the mean explained variance is {other.explained_variance:.3f}.")
    if fault is None:
        return notes
    if accept_unfit:
        return (*notes, f"It was taken although it does not hold here: {fault}.")
    hint = " ".join(notes[1:])
    raise NotApplicableError(
        expected=f"an autoencoder that holds on this model's vectors at its place ({fault})",
        came=f"{figures} with {pretrained.origin}{'. ' if hint else ''}{hint.rstrip('.')}",
        todo="check model, dtype, hook, normalisation and centring of its training, or take it all the same "
        "with accept_unfit: true (--accept-unfit)",
    )


def fault_of_fit(metrics: DictionaryMetrics, n_features: int, published: Published | None) -> str | None:
    """Return which bound the figures break, in words, or None."""
    explained = None if published is None else published.explained_variance
    l0 = None if published is None else published.l0
    least = LEAST_EXPLAINED if explained is None else _SHARE_OF_PUBLISHED * explained
    if not metrics.explained_variance >= least:
        of = "" if explained is None else f", half of the published {explained:g}"
        return f"explained variance is to be at least {least:g}{of}"
    if not 0 < metrics.l0 < n_features:
        return f"L0 is to be above 0 and below {n_features}, the number of latents"
    if l0 is not None and not l0 / _L0_FACTOR <= metrics.l0 <= l0 * _L0_FACTOR:
        return f"L0 is to be within a factor {_L0_FACTOR:g} of the published {l0:g}"
    return None
