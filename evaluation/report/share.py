"""Three corpora become a share with its doubts, a file and a figure; it counts no words itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import PositiveInt

from evaluation.records.corpora import Corpus, WordIds, read_corpus, read_words
from evaluation.report.plots.share import draw_share
from evaluation.scoring.population.estimate import ANY_SHARE, ShareEstimate, estimate_share
from evaluation.scoring.population.held_out import (
    ALL_SHARES,
    PUBLISHED_SHARES,
    HeldOut,
    Recovered,
    bias_at,
    hold_out,
    no_kinds,
)
from evaluation.scoring.population.mixture import IntArray, Mixture
from evaluation.scoring.population.occurrence import VocabularyConfig, WordModels, occurrences, word_models
from ravel.common.errors import SuiteError
from ravel.common.io import make_folder, write_json
from ravel.common.progress import Progress, counting, silent

_KINDS = ("sentences of the reference", "those of the other corpus")


class ShareConfig(VocabularyConfig):
    """How a share is estimated and doubted."""

    resamples: PositiveInt = 1000
    """Times that sentences, and documents, are drawn again."""
    mixtures: PositiveInt = 40
    """Held-out mixtures of each true share."""
    mixture_sentences: PositiveInt = 5000
    """Sentences of each of them."""
    seed: int = 0
    """Root of every random stream."""


@dataclass(frozen=True, slots=True)
class ShareRequest:
    """Which corpora are compared."""

    reference: Path
    """Sentences of the one kind."""
    other: Path
    """Sentences of the other kind."""
    mixed: Path | None = None
    """Sentences of both kinds; None: only the recovery of known shares is looked at."""
    words: Path | None = None
    """A file of words, one a line, that alone count; None: all."""
    validate: bool = False
    """True: shares of 0 to 25 % are recovered, as in the published validation, rather than 0 to 100 %."""
    config: ShareConfig = field(default_factory=ShareConfig)
    """How the share is estimated."""


@dataclass(frozen=True, slots=True)
class ShareResult:
    """What a share came to."""

    n_reference: int
    """Sentences of the reference."""
    n_other: int
    """Sentences of the other corpus."""
    n_words: int
    """Words that count."""
    recovered: Sequence[Recovered]
    """What known shares came to."""
    estimate: ShareEstimate | None = None
    """The share of the mixed corpus, if one was given."""
    bias: float | None = None
    """By how much held-out mixtures that come to the estimate are too high on average; None without one."""
    reason: str | None = None
    """Why no share is identifiable; None where one is."""
    files: Sequence[Path] = ()
    """What was written."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        found = self.estimate
        return {
            "n_reference": self.n_reference,
            "n_other": self.n_other,
            "n_words": self.n_words,
            "estimate": None if found is None else found.to_json(),
            "bias": self.bias,
            "reason": self.reason,
            "recovered": [
                {
                    "true": one.true,
                    "mean": one.mean,
                    "bias": one.bias,
                    "largest_error": float(np.abs(one.estimates - one.true).max()),
                    "covered": one.covered,
                    "mixtures": len(one.estimates),
                }
                for one in self.recovered
            ],
            "files": [str(path) for path in self.files],
        }


@dataclass(frozen=True, slots=True)
class _Read:
    """The corpora of a request."""

    reference: Corpus
    other: Corpus
    mixed: Corpus | None
    n_words: int
    only: IntArray | None

    def models(self, config: VocabularyConfig) -> WordModels:
        """Return the word models of both corpora, whole."""
        reference, other = (occurrences(each, self.n_words) for each in (self.reference, self.other))
        return word_models(reference, other, config, self.only)


def population_share(
    request: ShareRequest, out: Path | None = None, progress: Progress = silent
) -> ShareResult:
    """Estimate which share of a mixed corpus is like the other corpus rather than like the reference, by the
    likeliest mixture of two models of word occurrence (Liang et al. 2024, arXiv 2404.01268), and recover
    known shares of held-out sentences. With a folder `out`, write `share.json` and the figure there.

    Raises SuiteError for corpora that can't be read or have too few words in common.
    """
    read, config = _read(request, progress), request.config
    models = read.models(config)
    held = hold_out(read.reference, read.other, read.n_words, config, only=read.only, seed=config.seed)
    shares = PUBLISHED_SHARES if request.validate else ALL_SHARES
    recovered = _recovered(held, shares, config, progress)
    result = ShareResult(len(read.reference), len(read.other), models.n_words, recovered)
    mixture = None
    if read.mixed is not None:
        log_ratios = models.log_ratios(read.mixed)
        mixture = Mixture.of(log_ratios)
        estimate = estimate_share(
            log_ratios, read.mixed.documents, resamples=config.resamples, seed=config.seed
        )
        result = _doubted(replace(result, estimate=estimate), held, config)
    return result if out is None else _written(result, mixture, out)


def _read(request: ShareRequest, progress: Progress) -> _Read:
    if request.mixed is None and not request.validate:
        raise SuiteError(
            expected="a third corpus, whose share is wanted",
            came="two corpora",
            todo="name the mixed corpus, or give --validate to recover known shares of the other two",
        )
    words = WordIds()

    def read(path: Path) -> Corpus:
        return read_corpus(path, words, counting(progress, f"reading {path.name}"))

    reference, other = read(request.reference), read(request.other)
    mixed = None if request.mixed is None else read(request.mixed)
    only = None if request.words is None else read_words(request.words, words)
    return _Read(reference, other, mixed, len(words), only)


def _recovered(
    held: HeldOut, shares: Sequence[float], config: ShareConfig, progress: Progress
) -> list[Recovered]:
    told = counting(progress, "held-out mixtures")
    found: list[Recovered] = []
    for share in shares:
        found += held.recover(
            [share], size=config.mixture_sentences, repeats=config.mixtures, seed=config.seed
        )
        told(len(found), len(shares))
    return found


def _doubted(result: ShareResult, held: HeldOut, config: ShareConfig) -> ShareResult:
    """Add the bias at the estimate, or the reason why there is none."""
    estimate = result.estimate
    assert estimate is not None
    size, repeats = config.mixture_sentences, config.mixtures
    reason = no_kinds(held, _KINDS, size=size, repeats=repeats, seed=config.seed)
    if reason is None and estimate.share is None:
        reason = ANY_SHARE
    if reason is None and estimate.share is not None:
        return replace(result, bias=bias_at(estimate.share, result.recovered))
    return replace(result, reason=reason, estimate=replace(estimate, share=None))


def _written(result: ShareResult, mixture: Mixture | None, out: Path) -> ShareResult:
    make_folder(out)
    estimate = result.estimate
    found = None if estimate is None or mixture is None else (estimate, mixture)
    figures = draw_share(out / "share", result.recovered, found)
    result = replace(result, files=(out / "share.json", *figures))
    write_json(out / "share.json", result.to_json())
    return result
