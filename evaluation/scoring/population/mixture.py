"""The likeliest share of a mixture of two known components; it knows no words.

Every sentence x of a corpus has a log ratio d = ln Q(x) - ln P(x). The share a of sentences from Q maximises
the mean of ln(1 - a + a exp d) (Liang et al. 2024, arXiv 2404.01268), which is concave in a.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_LARGEST = 300.0
"""Log ratios beyond it are as good as certain, and their exponential is no number."""
_STEPS, _CLOSE = 100, 1e-12
_CHI_SQUARE = 3.841458820694124
"""The 95 % point of a chi-square with one degree of freedom."""
_HALVINGS = 40
_ROWS = 64
"""Resamples that are solved at once, for the sake of memory."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """Groups of sentences of equal ratios: the value of (1 - a) P + a Q of each, up to a factor, at both
    ends of the share."""

    at_none: FloatArray
    """Its value where the share is 0, [n_groups], above 0."""
    at_all: FloatArray
    """Its value where the share is 1, [n_groups]; the larger of both is 1."""
    counts: FloatArray
    """Sentences in each group, [n_groups]."""

    @classmethod
    def of(cls, log_ratios: FloatArray) -> Self:
        """Return the mixture of sentences with these log ratios, each a group of its own."""
        bounded = np.clip(log_ratios, -_LARGEST, _LARGEST)
        smaller = np.exp(-np.abs(bounded))
        is_more = bounded > 0
        return cls(np.where(is_more, smaller, 1.0), np.where(is_more, 1.0, smaller), np.ones(len(bounded)))

    @property
    def n(self) -> float:
        """How many sentences there are."""
        return float(self.counts.sum())

    def values(self, share: float) -> FloatArray:
        """Return the value of each group at a share."""
        return (1 - share) * self.at_none + share * self.at_all

    def slopes(self, share: float) -> FloatArray:
        """Return the derivative of each group's log likelihood at a share."""
        return (self.at_all - self.at_none) / self.values(share)

    def log_likelihood(self, share: float) -> float:
        """Return the log likelihood of all sentences at a share, up to a constant."""
        return float(self.counts @ np.log(self.values(share)))

    def likeliest(self) -> float:
        """Return the likeliest share; 0.5 where every share is as likely."""
        return float(self.likeliest_of(self.counts[None])[0])

    def likeliest_of(self, counts: FloatArray) -> FloatArray:
        """Return the likeliest share for each row of other counts [n_rows, n_groups], by Newton's steps that
        a bracket holds."""
        rows = [counts[start : start + _ROWS] for start in range(0, len(counts), _ROWS)]
        return np.concatenate([self._solved(some) for some in rows])

    def _solved(self, counts: FloatArray) -> FloatArray:
        gain = self.at_all - self.at_none
        low, high = np.zeros(len(counts)), np.ones(len(counts))
        low[counts @ (gain / self.at_all) >= 0] = 1.0
        high[counts @ (gain / self.at_none) <= 0] = 0.0
        flat = low > high
        share = (low + high) / 2
        for _ in range(_STEPS):
            slopes = gain / (self.at_none + share[:, None] * gain)
            first = np.einsum("rg,rg->r", counts, slopes)
            low = np.maximum(low, np.where(first > 0, share, 0.0))
            high = np.minimum(high, np.where(first < 0, share, 1.0))
            second = np.einsum("rg,rg->r", counts, slopes**2)
            step = np.divide(first, second, out=np.zeros_like(first), where=second > 0)
            ahead = share + step
            inside = (ahead >= low) & (ahead <= high)
            ahead = np.where(inside, ahead, (low + high) / 2)
            done = bool(np.abs(ahead - share).max() < _CLOSE)
            share = ahead
            if done:
                break
        return np.where(flat, 0.5, share)

    def likelihood_interval(self, share: float) -> tuple[float, float]:
        """Return the shares that a likelihood ratio test at 5 % does not reject, given the likeliest."""
        lowest = self.log_likelihood(share) - _CHI_SQUARE / 2
        return self._end(share, 0.0, lowest), self._end(share, 1.0, lowest)

    def _end(self, inside: float, outside: float, lowest: float) -> float:
        if self.log_likelihood(outside) >= lowest:
            return outside
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            if self.log_likelihood(middle) >= lowest:
                inside = middle
            else:
                outside = middle
        return (inside + outside) / 2
