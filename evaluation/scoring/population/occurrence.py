"""How often words occur in sentences of two corpora, and what a sentence's words say for either; it reads no
file.

A sentence is a set of words that occur independently of each other (Liang et al. 2024, arXiv 2404.01268):
P(x) is the product of p(t) over its words and of 1 - p(t) over the other words of the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from evaluation.records.corpora import Corpus
from evaluation.scoring.population.mixture import FloatArray, IntArray
from ravel.common.config import Config
from ravel.common.errors import SuiteError

BoolArray = NDArray[np.bool_]


class VocabularyConfig(Config):
    """Which words count."""

    min_reference: PositiveInt = 5
    """Sentences of the reference that a word must be in."""
    min_other: PositiveInt = 3
    """Sentences of the other corpus that a word must be in."""


@dataclass(frozen=True, slots=True)
class Occurrences:
    """In how many sentences each word is."""

    counts: IntArray
    """Sentences with the word, [n_words]."""
    n: int
    """All sentences."""


def occurrences(corpus: Corpus, n_words: int, chosen: BoolArray | None = None) -> Occurrences:
    """Count the sentences of each word; only those that are `chosen` [n_sentences], where it is given."""
    if chosen is None:
        return Occurrences(np.bincount(corpus.words, minlength=n_words), len(corpus))
    of_words = np.repeat(chosen, np.diff(corpus.starts))
    return Occurrences(np.bincount(corpus.words[of_words], minlength=n_words), int(chosen.sum()))


@dataclass(frozen=True, slots=True)
class WordModels:
    """What each word of the vocabulary says for the other corpus against the reference."""

    weights: FloatArray
    """What a word adds to a sentence's log ratio, [n_words]; 0 for words that do not count."""
    constant: float
    """The log ratio of a sentence without any word of the vocabulary."""
    n_words: int
    """Words of the vocabulary."""

    def log_ratios(self, corpus: Corpus) -> FloatArray:
        """Return ln Q(x) - ln P(x) of each sentence, [n_sentences], Q being the other corpus."""
        sentence = np.repeat(np.arange(len(corpus)), np.diff(corpus.starts))
        sums: FloatArray = np.bincount(sentence, self.weights[corpus.words], len(corpus)).astype(np.float64)
        return sums + self.constant


def word_models(
    reference: Occurrences,
    other: Occurrences,
    config: VocabularyConfig,
    only: IntArray | None = None,
) -> WordModels:
    """Return the models of words that are in enough sentences of both, and among `only`, where it is given.

    A word that is in every sentence counts as missing from half a sentence, so that no sentence is
    impossible; the published code has no such bound. Raises SuiteError if no word is left.
    """
    kept = (reference.counts >= config.min_reference) & (other.counts >= config.min_other)
    if only is not None:
        kept &= np.isin(np.arange(len(kept)), only)
    if not kept.any():
        raise SuiteError(
            expected=f"words in at least {config.min_reference} sentences of the reference and "
            f"{config.min_other} of the other corpus",
            came=f"no such word: the vocabularies of {reference.n} and {other.n} sentences do not meet",
            todo="give larger corpora of one language and field, or lower --min-reference and --min-other",
        )
    in_reference, in_other = (
        np.minimum(each.counts[kept], each.n - 0.5) / each.n for each in (reference, other)
    )
    absent = np.log1p(-in_other) - np.log1p(-in_reference)
    weights = np.zeros(len(kept))
    weights[kept] = np.log(in_other) - np.log(in_reference) - absent
    return WordModels(weights, float(absent.sum()), int(kept.sum()))
