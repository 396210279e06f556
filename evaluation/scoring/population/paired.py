"""What a text's words say for one source against one base, where every text has two prompts of its own; it
knows no model and reads no file.

The words of a prompt's texts occur independently of each other, as in `occurrence`; with few texts of a
prompt its shares lean on those of all prompts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

WordSet = frozenset[str]

_LEANING = 1.0
"""Texts of a prompt that what all prompts say counts for."""


class PairedModels:
    """Models of word occurrence, one per prompt.

    With c of a prompt's n texts having a word, and a share r of all prompts' texts, its share is (c + r) /
    (n + 1): what is common everywhere tells nothing, and nothing is impossible.
    """

    def __init__(self, texts: Mapping[str, Sequence[WordSet]]) -> None:
        """`texts` are those of each prompt, as sets of words; every prompt has some."""
        self._counts = {
            prompt: Counter(word for text in own for word in text) for prompt, own in texts.items()
        }
        self._sizes = {prompt: len(own) for prompt, own in texts.items()}
        n = sum(self._sizes.values())
        everywhere: Counter[str] = Counter()
        for counts in self._counts.values():
            everywhere.update(counts)
        self._shares = {word: min(count, n - 0.5) / n for word, count in everywhere.items()}

    def log_ratio(self, text: Collection[str], base: str, source: str, but: Collection[str] = ()) -> float:
        """Return ln Q(text) - ln P(text), with Q the model of the prompt `source` and P that of `base`; words
        in `but` do not count, nor do words that no text has."""
        return sum(
            self._term(word, base, source, present=word in text)
            for word in sorted(self._telling(base, source) - set(but))
        )

    def _telling(self, base: str, source: str) -> set[str]:
        """Return the words of which both prompts may have different shares."""
        if self._sizes[base] == self._sizes[source]:
            return self._counts[base].keys() | self._counts[source].keys()
        return set(self._shares)

    def _term(self, word: str, base: str, source: str, *, present: bool) -> float:
        p, q = self._share(base, word), self._share(source, word)
        return math.log(q / p) if present else math.log1p(-q) - math.log1p(-p)

    def _share(self, prompt: str, word: str) -> float:
        everywhere = _LEANING * self._shares[word]
        return (self._counts[prompt][word] + everywhere) / (self._sizes[prompt] + _LEANING)
