"""Detection as AxBench's code computes it, from the largest token score of each text; no model is known here.

Wu et al. 2025 (arXiv 2501.17148), evaluators `aucroc` and `hard_negative` of its repository.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.axbench.concepts import HARD_NEGATIVE, NEGATIVE, POSITIVE
from evaluation.scoring.auroc import BoolArray, FloatArray, auroc
from ravel.common.typed import Record

_ROUNDED = 3
"""Decimals of token scores, as there."""
_NO_ACTIVATION = 50.0
"""What stands for the largest score of a concept where that is not above 0, as there."""


@dataclass(frozen=True, slots=True)
class DetectionRow(Record):
    """How well one method tells one concept."""

    SCHEMA = 1
    method: str
    """How the direction was found."""
    concept_id: int
    """Number of the concept."""
    concept: str
    """In words."""
    genre: str
    """Its genre."""
    n_positive: int
    """Evaluation texts with it."""
    n_negative: int
    """Ordinary evaluation texts."""
    n_hard_negative: int
    """Texts with other senses of its words."""
    auroc: float
    """Area under the curve of positives against ordinary texts."""
    f1: float
    """Largest F1 over thresholds, positives against ordinary texts."""
    hard_negative_accuracy: float | None
    """Mean of the accuracies on positives and on hard negatives at Youden's threshold of positives against
    ordinary texts; None without hard negatives, or where no threshold gains anything."""
    max_act: float
    """Largest token score of all its evaluation texts, by which factors of steering are multiplied; 50 where
    it is not above 0."""
    schema_version: int = 1
    """Version of the file's form."""


def largest_scores(token_scores: Sequence[Sequence[float]]) -> FloatArray:
    """Return the largest of each text's token scores, [n_texts], rounded to three decimals."""
    return np.array([max(round(score, _ROUNDED) for score in scores) for scores in token_scores])


def normalised(scores: FloatArray) -> FloatArray:
    """Return scores [n] from 0 to 1, least and largest of all texts of the concept; 0 where all are one."""
    least, largest = scores.min(), scores.max()
    if largest == least:
        return np.zeros(len(scores))
    scaled: FloatArray = (scores - least) / (largest - least)
    return scaled


def youden(scores: FloatArray, has: BoolArray) -> float | None:
    """Return the highest of the scores at or above which the share of positives exceeds that of negatives
    most; None where it never does."""
    best, found = 0.0, None
    for threshold in np.unique(scores)[::-1]:
        gain = float((scores[has] >= threshold).mean() - (scores[~has] >= threshold).mean())
        if gain > best + 1e-12:
            best, found = gain, float(threshold)
    return found


def largest_f1(scores: FloatArray, has: BoolArray) -> float:
    """Return the largest F1 over all thresholds."""
    best = 0.0
    for threshold in np.unique(scores):
        said = scores >= threshold
        best = max(best, 2 * float((said & has).sum()) / float(said.sum() + has.sum()))
    return best


def told(scores: FloatArray, categories: Sequence[str]) -> dict[str, float | None]:
    """Return `auroc`, `f1` and `hard_negative_accuracy` of a concept's texts, by their largest scores [n] and
    their categories. Hard negatives count in the normalisation and in the last only, as there."""
    scaled, names = normalised(scores), np.array(categories)
    plain = np.isin(names, (POSITIVE, NEGATIVE))
    has = names[plain] == POSITIVE
    threshold = youden(scaled[plain], has)
    hard = scaled[names == HARD_NEGATIVE]
    accuracy = None
    if threshold is not None and len(hard):
        hits = float((scaled[names == POSITIVE] >= threshold).mean())
        accuracy = (hits + float((hard < threshold).mean())) / 2
    return {
        "auroc": auroc(scaled[plain], has),
        "f1": largest_f1(scaled[plain], has),
        "hard_negative_accuracy": accuracy,
    }


def activation_of(scores: FloatArray) -> float:
    """Return by what factors of steering are multiplied."""
    return float(scores.max()) if scores.max() > 0 else _NO_ACTIVATION
