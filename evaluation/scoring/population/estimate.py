"""The share of sentences of the other kind, with its uncertainty by sentence, by document and by likelihood;
it reads no file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from typing_extensions import Self

from evaluation.records.measured import Interval
from evaluation.scoring.population.mixture import FloatArray, IntArray, Mixture
from ravel.common.seeds import numpy_stream

_GROUPS = 4096
"""Groups into which sentences are put before they are drawn again; with fewer distinct ones it is exact."""
_LEVEL = (2.5, 97.5)
ANY_SHARE = "no share from 0 to 1 can be ruled out"
"""Why an estimate has no share."""


@dataclass(frozen=True, slots=True)
class ShareEstimate:
    """The likeliest share of a corpus and what it might be as well."""

    share: float | None
    """Sentences of the other kind, from 0 to 1; None: not identifiable, for no share can be ruled out."""
    n_sentences: int
    """Sentences behind it."""
    n_documents: int | None
    """Documents behind it; None: nothing is known of that."""
    likelihood: Interval
    """Shares that a likelihood ratio test at 5 % does not reject."""
    by_sentence: Interval | None
    """95 % percentile interval over sentences drawn again; None where no share is identifiable."""
    by_document: Interval | None
    """The same over whole documents drawn again, which the sentences of one do not make too narrow; None
    without documents or a share."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        intervals = {
            "likelihood": self.likelihood,
            "sentences": self.by_sentence,
            "documents": self.by_document,
        }
        return {
            "share": self.share,
            "n_sentences": self.n_sentences,
            "n_documents": self.n_documents,
            "intervals": {name: None if each is None else list(each) for name, each in intervals.items()},
        }


def estimate_share(
    log_ratios: FloatArray, documents: IntArray | None, *, resamples: int, seed: int
) -> ShareEstimate:
    """Return the likeliest share of sentences with these log ratios, [n_sentences], and of these documents.

    It is the likeliest share itself; the published estimate is the middle of the interval by sentence.
    """
    mixture = Mixture.of(log_ratios)
    share = mixture.likeliest()
    likelihood = mixture.likelihood_interval(share)
    n_documents = None if documents is None else int(documents.max()) + 1
    if likelihood == (0.0, 1.0):
        return ShareEstimate(None, len(log_ratios), n_documents, likelihood, None, None)
    grouped = GroupedSentences.of(mixture, share)
    return ShareEstimate(
        share=share,
        n_sentences=len(log_ratios),
        n_documents=n_documents,
        likelihood=likelihood,
        by_sentence=grouped.by_sentence(resamples, seed),
        by_document=None if documents is None else grouped.by_document(documents, resamples, seed),
    )


@dataclass(frozen=True, slots=True)
class GroupedSentences:
    """Sentences in groups of like ratios, so that drawing them again costs by the group."""

    group: IntArray
    """The group of each sentence, [n_sentences]."""
    mixture: Mixture
    """The groups. At the likeliest share the slope of each is the mean over its sentences, so that the
    likeliest share stays where it is."""

    @classmethod
    def of(cls, mixture: Mixture, share: float) -> Self:
        """Group sentences by the order of their slopes at the likeliest share."""
        slopes = mixture.slopes(share)
        distinct, group = np.unique(slopes, return_inverse=True)
        if len(distinct) > _GROUPS:
            ranks = np.empty(len(slopes), dtype=np.int64)
            ranks[np.argsort(slopes, kind="stable")] = np.arange(len(slopes))
            group = ranks * _GROUPS // len(slopes)
        counts = np.bincount(group).astype(float)
        means = np.bincount(group, weights=slopes) / counts
        # With r = Q / P - 1 a slope is r / (1 + share r), and so 1 - share slope is 1 / (1 + share r).
        at_none = np.maximum(1 - share * means, 0.0)
        at_all = np.maximum(at_none + means, 0.0)
        largest = np.maximum(at_none, at_all)
        tiny = np.exp(-300.0)
        return cls(
            group, Mixture(np.maximum(at_none / largest, tiny), np.maximum(at_all / largest, tiny), counts)
        )

    def by_sentence(self, resamples: int, seed: int) -> Interval:
        """Return the interval over sentences that are drawn again, each by itself."""
        stream, n = numpy_stream(seed, "share", "sentences"), len(self.group)
        counts = stream.multinomial(n, self.mixture.counts / n, size=resamples)
        return _interval(self.mixture.likeliest_of(counts.astype(float)))

    def by_document(self, documents: IntArray, resamples: int, seed: int) -> Interval:
        """Return the interval over documents that are drawn again, each with all its sentences."""
        stream, n = numpy_stream(seed, "share", "documents"), int(documents.max()) + 1
        n_groups = len(self.mixture.counts)
        # What a document has of each group once, so that a draw costs by the document and group.
        cells, cell_counts = np.unique(documents * n_groups + self.group, return_counts=True)
        of_document, of_group = np.divmod(cells, n_groups)
        counts = np.empty((resamples, n_groups))
        for row in counts:
            drawn = np.bincount(stream.integers(n, size=n), minlength=n)
            row[:] = np.bincount(of_group, weights=drawn[of_document] * cell_counts, minlength=n_groups)
        return _interval(self.mixture.likeliest_of(counts))


def _interval(shares: FloatArray) -> Interval:
    low, high = np.percentile(shares, _LEVEL)
    return float(low), float(high)
