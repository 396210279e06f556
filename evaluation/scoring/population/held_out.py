"""How truly shares are recovered: mixtures of known shares from sentences that no word model has seen; it
reads no file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.records.corpora import Corpus
from evaluation.scoring.population.estimate import GroupedSentences
from evaluation.scoring.population.mixture import FloatArray, IntArray, Mixture
from evaluation.scoring.population.occurrence import (
    BoolArray,
    VocabularyConfig,
    occurrences,
    word_models,
)
from ravel.common.seeds import numpy_stream

PUBLISHED_SHARES = tuple(step / 40 for step in range(11))
"""0 to 25 %, the shares of the published validation (arXiv 2404.01268)."""
ALL_SHARES = (0.0, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0)
"""From nothing to everything."""
_TELLS = 0.5
"""What is held out of the other kind must come out by at least so much higher than what is of the reference;
below it the word models have learnt their own texts and no kind."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What mixtures of one true share came to."""

    true: float
    """The share that sentences were drawn with."""
    estimates: FloatArray
    """What was estimated, once per mixture."""
    covered: float
    """Share of mixtures whose 95 % likelihood interval holds the truth."""

    @property
    def mean(self) -> float:
        """Mean estimate."""
        return float(self.estimates.mean())

    @property
    def bias(self) -> float:
        """Mean estimate less the truth."""
        return self.mean - self.true


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Two corpora of which word models have seen one half, in turn, and mixtures are of the other."""

    halves: tuple[tuple[FloatArray, FloatArray], ...]
    """For each half the log ratios of the reference's and of the other corpus's sentences in it."""

    def recover(self, shares: Sequence[float], *, size: int, repeats: int, seed: int) -> list[Recovered]:
        """Return what mixtures of `size` sentences come to, `repeats` of them for each share, half of them
        from either half. Each sentence is of the other corpus with the share as its chance."""
        return [self._recovered(share, size, repeats, seed) for share in shares]

    def _recovered(self, share: float, size: int, repeats: int, seed: int) -> Recovered:
        estimates, covered = [], 0
        for repeat in range(repeats):
            stream = numpy_stream(seed, "share", "mixtures", repr(share), str(repeat))
            reference, other = self.halves[repeat % len(self.halves)]
            n_other = int(stream.binomial(size, share))
            drawn = np.concatenate([stream.choice(reference, size - n_other), stream.choice(other, n_other)])
            mixture = Mixture.of(drawn)
            found = mixture.likeliest()
            low, high = GroupedSentences.of(mixture, found).mixture.likelihood_interval(found)
            estimates.append(found)
            covered += low <= share <= high
        return Recovered(share, np.array(estimates), covered / repeats)


def hold_out(
    reference: Corpus,
    other: Corpus,
    n_words: int,
    config: VocabularyConfig,
    *,
    only: IntArray | None = None,
    seed: int = 0,
) -> HeldOut:
    """Split both corpora in halves by lot, whole documents where there are some, and return the log ratios of
    each half under the word models of the other. Raises SuiteError if a half has no word that counts."""
    firsts = tuple(_half(corpus, seed, name) for corpus, name in ((reference, "reference"), (other, "other")))
    halves = []
    for flip in (False, True):
        seen = tuple(first ^ flip for first in firsts)
        models = word_models(
            occurrences(reference, n_words, seen[0]), occurrences(other, n_words, seen[1]), config, only
        )
        unseen = (models.log_ratios(reference)[~seen[0]], models.log_ratios(other)[~seen[1]])
        halves.append(unseen)
    return HeldOut(tuple(halves))


def _half(corpus: Corpus, seed: int, name: str) -> BoolArray:
    """Return which sentences are in the first half, [n_sentences]; both halves have some."""
    units = np.arange(len(corpus)) if corpus.documents is None else corpus.documents
    n = int(units.max()) + 1
    is_first = np.zeros(n, dtype=bool)
    is_first[numpy_stream(seed, "share", "halves", name).permutation(n)[: n // 2]] = True
    return is_first[units]


def no_kinds(held: HeldOut, words: tuple[str, str], *, size: int, repeats: int, seed: int) -> str | None:
    """Return why the words of both kinds do not tell them apart, as `words` call held-out texts of the
    reference and of the other kind; None if they do."""
    none, everything = held.recover((0.0, 1.0), size=size, repeats=repeats, seed=seed)
    if everything.mean - none.mean >= _TELLS:
        return None
    return (
        f"held-out {words[0]} come out at {none.mean:.3f} and {words[1]} at {everything.mean:.3f}: "
        "their words do not tell both kinds apart"
    )


def bias_at(share: float, recovered: Sequence[Recovered]) -> float:
    """Return by how much mixtures that come to a share are too high on average, between those that were
    recovered."""
    means = np.maximum.accumulate([one.mean for one in recovered])
    return share - float(np.interp(share, means, [one.true for one in recovered]))
