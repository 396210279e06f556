"""Rejection sampling for a training of the user's own: scored candidates in, the best of each prompt out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, FiniteFloat

from das.rejection import best_candidates, weighted_score
from ravel.common.config import Config
from ravel.common.errors import SuiteError
from ravel.common.io import canonical_json, read_jsonl, write_text

SCORE_FIELD = "weighted_score"
"""The field that kept rows have besides their own."""


class KeepConfig(Config):
    """Which candidates are kept."""

    by: str = "prompt"
    """The field that candidates for one example share."""
    weights: Mapping[str, FiniteFloat] | None = None
    """What each score counts; None: each that the first row has counts 1."""
    threshold: FiniteFloat | None = None
    """Least weighted score of what is kept; None: the best of each example is kept, whatever it is."""
    share: float = Field(default=1.0, gt=0.0, le=1.0)
    """Share of the kept examples that stays, those of the highest scores; a third is ReSet-S."""


@dataclass(frozen=True, slots=True)
class KeptCandidates:
    """What was kept."""

    n_candidates: int
    """Rows of the file."""
    n_examples: int
    """Examples that they are for."""
    n_kept: int
    """Examples of which the best candidate was kept."""
    mean_score: float
    """Mean weighted score of all candidates."""
    mean_kept: float
    """Of those that were kept."""
    weights: Mapping[str, float]
    """What each score counted."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


def keep_best(candidates: Path, out: Path, config: KeepConfig | None = None) -> KeptCandidates:
    """Keep the best candidate of each example and write the rows, with their `weighted_score`, to `out` in
    the order in which examples first come: what a model is trained on next (ReSet, arXiv 2407.21417).

    A row of the JSON Lines file `candidates` is one candidate, with the field that says for what (`by`) and
    its numbers by name in the field `scores`. Of candidates with equal scores the first is kept; one counts
    if it reaches the threshold. Raises SuiteError, and writes nothing, for a row without these fields or
    without a score that has a weight, and where nothing is kept.
    """
    config = config or KeepConfig()
    rows = [row for _, row in _checked(candidates, config)]
    weights = _weights(rows, config)
    scores = [_weighted(candidates, number, row, weights) for number, row in enumerate(rows, start=1)]
    examples: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        examples.setdefault(canonical_json(row[config.by]), []).append(place)
    groups = list(examples.values())
    kept = best_candidates(
        [[scores[place] for place in group] for group in groups],
        threshold=config.threshold,
        share=config.share,
    )
    if not kept:
        raise _nothing_kept(candidates, scores, config)
    places = [groups[one.example][one.candidate] for one in kept]
    write_text(out, "".join(canonical_json(rows[i] | {SCORE_FIELD: scores[i]}) + "\n" for i in places))
    return KeptCandidates(
        n_candidates=len(rows),
        n_examples=len(groups),
        n_kept=len(kept),
        mean_score=math.fsum(scores) / len(scores),
        mean_kept=math.fsum(one.score for one in kept) / len(kept),
        weights=weights,
    )


def _checked(path: Path, config: KeepConfig) -> list[tuple[int, dict[str, Any]]]:
    rows = list(read_jsonl(path))
    for number, row in rows:
        if config.by not in row:
            raise _bad_row(path, number, f"the field {config.by}, which says what a candidate is for", row)
        scores = row.get("scores")
        numbers = isinstance(scores, dict) and scores and all(map(_is_number, scores.values()))
        if not numbers:
            raise _bad_row(path, number, "numbers by name in the field scores", row)
    if not rows:
        raise SuiteError(
            expected=f"candidates in {path}", came="an empty file", todo="give a row for each candidate"
        )
    return rows


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _weights(rows: list[dict[str, Any]], config: KeepConfig) -> dict[str, float]:
    if config.weights is not None:
        return dict(config.weights)
    return dict.fromkeys(rows[0]["scores"], 1.0)


def _weighted(path: Path, number: int, row: dict[str, Any], weights: Mapping[str, float]) -> float:
    missing = [name for name in weights if name not in row["scores"]]
    if missing:
        raise _bad_row(path, number, f"the score {missing[0]}, which has a weight", row["scores"])
    return weighted_score(row["scores"], weights)


def _bad_row(path: Path, number: int, expected: str, row: Mapping[str, Any]) -> SuiteError:
    return SuiteError(
        expected=f"on line {number} of {path} {expected}",
        came=f"the fields {', '.join(map(repr, row))}" if row else "no field",
        todo='write rows such as {"prompt": "...", "completion": "...", "scores": {"task": 0.8}}',
    )


def _nothing_kept(path: Path, scores: list[float], config: KeepConfig) -> SuiteError:
    return SuiteError(
        expected=f"a candidate in {path} with a weighted score of at least {config.threshold}",
        came=f"none; the highest is {max(scores)}",
        todo="lower the threshold, or draw more candidates",
    )
