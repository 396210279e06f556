"""Means of score records where the averages, which need the outcomes, are not at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from evaluation.records.measured import Measured
from evaluation.records.scores import SCORE_SCHEMA_VERSION, AverageRecord, ScoreRecord
from evaluation.scoring.mean import mean
from ravel.terms.schema import GENERALISATIONS

__all__ = ["averages_without_outcomes"]


def averages_without_outcomes(chosen: Sequence[ScoreRecord], criterion: str) -> list[AverageRecord]:
    """Average chosen score records of one source kind over seeds, and over the attributes that have the
    criterion.

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
                records.append(_over_attributes(parts, criterion))
    return records


def _over_seeds(records: Sequence[ScoreRecord]) -> AverageRecord:
    first = records[0]
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
        measures={
            name: Measured(
                mean([r.value(name) for r in records]), one.interval if len(records) == 1 else None, one.n
            )
            for name, one in first.measures.items()
        },
        source_kind=first.source_kind,
        track=first.track,
    )


def _over_attributes(parts: Sequence[AverageRecord], criterion: str) -> AverageRecord:
    counted = [part for part in parts if part.value(criterion) is not None]
    return replace(
        parts[0],
        scope="macro",
        attributes=tuple(attribute for part in counted for attribute in part.attributes),
        seeds=tuple(sorted({seed for part in parts for seed in part.seeds})),
        measures={
            name: Measured(
                mean([part.value(name) for part in counted]),
                None,
                None if one.n is None else sum(part.measures[name].n or 0 for part in counted),
            )
            for name, one in parts[0].measures.items()
        },
    )
