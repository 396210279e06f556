"""Scores worked out again from outcomes and held against those that are stated; it runs no model.

Points must agree to the last bit. Intervals are allowed the rounding of another machine's libraries.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from das.sites import Site
from evaluation.records.scores import (
    SCORE_SCHEMA_VERSION,
    AverageRecord,
    ComparisonRecord,
    JudgedCase,
    ScoreRecord,
)
from evaluation.scoring.scores import FeaturizerId, score_outcomes
from evaluation.scoring.track import Track

_RELATIVE = 1e-9
_ABSOLUTE = 1e-12
_NAMES = ("model",)
"""Fields that name and decide nothing: the model's path differs from machine to machine, its fingerprint does
not."""

_ROUNDED = ("_interval", "_p", "_p_adjusted")
"""Ends of fields that come from intervals."""

Record = ScoreRecord | AverageRecord | ComparisonRecord


def rescored(stated: ScoreRecord, outcomes: Sequence[JudgedCase], track: Track[Any]) -> ScoreRecord:
    """Return the record that the outcomes of its split give, with the names that `stated` has."""
    featurizer_id = FeaturizerId(
        cell=stated.cell,
        method=stated.method,
        entity_type=stated.entity_type,
        model=stated.model,
        site=Site.parse(stated.site),
        size=stated.size,
        seed=stated.seed,
    )
    return score_outcomes(
        outcomes,
        stated.attribute,
        featurizer_id,
        track,
        generalisation=stated.generalisation,
        partition=stated.partition,
        chosen=stated.chosen,
        source_kind=stated.source_kind,
    )


def differences(stated: Record, found: Record) -> list[str]:
    """Return in words where a stated record differs from the one that was worked out.

    Records of an older schema had other intervals: only their points are compared.
    """
    old = stated.schema_version < SCORE_SCHEMA_VERSION
    ours, theirs = found.to_json(), stated.to_json()
    return [
        f"{name} {theirs[name]} where the outcomes give {value}"
        for name, value in ours.items()
        if name not in ("schema_version", *_NAMES)
        and not (old and name.endswith(_ROUNDED))
        and not _agree(name, theirs[name], value)
    ]


def record_problems(
    stated: Mapping[Any, Record], found: Mapping[Any, Record], *, origin: str
) -> Iterable[str]:
    """Yield what is missing, what is too much and what differs between records with equal keys."""
    for key in sorted(found.keys() - stated.keys(), key=str):
        yield f"{origin}: no record of {_told(key)}, though there are outcomes"
    for key in sorted(stated.keys() - found.keys(), key=str):
        yield f"{origin}: a record of {_told(key)}, which nothing in the folder gives"
    for key in stated.keys() & found.keys():
        for difference in differences(stated[key], found[key]):
            yield f"{origin}, {_told(key)}: {difference}"


def _told(key: Any) -> str:
    return " ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _agree(name: str, stated: Any, found: Any) -> bool:
    if name.endswith(_ROUNDED):
        return _close(stated, found)
    return bool(stated == found)


def _close(stated: Any, found: Any) -> bool:
    if stated is None or found is None:
        return stated is None and found is None
    if isinstance(found, tuple):
        return len(stated) == len(found) and all(_close(*both) for both in zip(stated, found, strict=True))
    return math.isclose(stated, found, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
