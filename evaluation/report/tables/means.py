"""Means of score records where the averages, which need the outcomes, are not at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from evaluation.records.scores import SCORE_SCHEMA_VERSION, AverageRecord, ScoreRecord
from evaluation.scoring.interchange.metrics import mean
from ravel.terms.schema import GENERALISATIONS

__all__ = ["averages_without_outcomes"]


def averages_without_outcomes(chosen: Sequence[ScoreRecord]) -> list[AverageRecord]:
    """Average chosen score records of one source kind over seeds, and over attributes.

    An interval survives only where nothing is averaged.
    """
    records: list[AverageRecord] = []
    for method in sorted({r.method for r in chosen}):
        for generalisation in GENERALISATIONS:
            own = [r for r in chosen if r.method == method and r.generalisation == generalisation]
            attributes = sorted({r.attribute for r in own})
            parts = [_over_seeds([r for r in own if r.attribute == a]) for a in attributes]
            records += parts
            if parts:
                records.append(_over_attributes(parts))
    return records


def _over_seeds(records: Sequence[ScoreRecord]) -> AverageRecord:
    first, alone = records[0], len(records) == 1
    return AverageRecord(
        schema_version=SCORE_SCHEMA_VERSION,
        method=first.method,
        entity_type=first.entity_type,
        model=first.model,
        scope="attribute",
        attributes=(first.attribute,),
        seeds=tuple(sorted(r.seed for r in records)),
        generalisation=first.generalisation,
        partition=first.partition,
        **_means(records),
        n_cause=first.n_cause,
        n_isolate=first.n_isolate,
        cause_interval=first.cause_interval if alone else None,
        isolate_interval=first.isolate_interval if alone else None,
        disentangle_interval=first.disentangle_interval if alone else None,
        source_kind=first.source_kind,
    )


def _over_attributes(parts: Sequence[AverageRecord]) -> AverageRecord:
    counted = [part for part in parts if part.disentangle is not None]
    return replace(
        parts[0],
        scope="macro",
        attributes=tuple(attribute for part in counted for attribute in part.attributes),
        seeds=tuple(sorted({seed for part in parts for seed in part.seeds})),
        **_means(counted),
        n_cause=sum(part.n_cause for part in counted),
        n_isolate=sum(part.n_isolate for part in counted),
        cause_interval=None,
        isolate_interval=None,
        disentangle_interval=None,
    )


def _means(records: Sequence[ScoreRecord] | Sequence[AverageRecord]) -> dict[str, Any]:
    return {
        score: mean([getattr(r, score) for r in records]) for score in ("cause", "isolate", "disentangle")
    }
