"""Means of score records where the averages, which need the outcomes, are not at hand, and the table of how
far fits lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import stdev
from typing import Any

from evaluation.records.measured import Measured
from evaluation.records.scores import SCORE_SCHEMA_VERSION, AverageRecord, ScoreRecord
from evaluation.report.tables.model import Column, Row, Table, TableCell
from evaluation.report.tables.notes import mark_notes
from evaluation.report.tables.rows import detail_of, ordered_methods, place_of
from evaluation.scoring.mean import mean
from evaluation.scoring.track import Track
from ravel.common.errors import SuiteError
from ravel.common.seeds import grouped
from ravel.terms.schema import GENERALISATIONS

_NAMES = ("mean", "sd of fits", "lowest fit", "highest fit")


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


def has_seeds(scores: Sequence[ScoreRecord]) -> bool:
    """Tell whether some method was fitted with several seeds."""
    return any(len(seeds) > 1 for seeds in _seeds(_counted(scores)).values())


def seed_table(scores: Sequence[ScoreRecord], averages: Sequence[AverageRecord], track: Track[Any]) -> Table:
    """Return the spread over the fits of each method with several seeds: a block per measure, of means over
    attributes on test pairs.

    `averages` have the intervals, and say which attributes count. Raises SuiteError if no method has several
    seeds.
    """
    points = _counted(scores)
    several = {method for method, seeds in _seeds(points).items() if len(seeds) > 1}
    if not several:
        raise SuiteError(
            expected="a method with several seeds to make a table of",
            came="one fit of each",
            todo="run a suite with --seeds 0,1,2",
        )
    means = {
        (r.method, r.generalisation): r
        for r in averages
        if (r.scope, r.partition, r.source_kind) == ("macro", "test", "all") and r.method in several
    }
    present = [g for g in GENERALISATIONS if any(key[1] == g for key in means)]
    most = max((len(record.attributes) for record in means.values()), default=0)
    rows = [
        _row(measure, [means.get((m, g)) for g in present], [p for p in points if p.method == m], most, track)
        for measure in track.names
        for m in ordered_methods(several, track)
    ]
    return Table(
        name="seeds",
        title=f"{track.heading} over fits, mean over attributes, test {track.unit}",
        block_header="measure",
        columns=tuple(Column(g, name, name.replace(" ", "_")) for g in present for name in _NAMES),
        rows=tuple(rows),
        notes=(
            *mark_notes(rows, track, compared=False),
            "mean: over fits, a seed each. In brackets: its 95 % interval over entities and templates, for "
            "the fits at hand.",
            "sd, lowest and highest: over the fits, on the same cases, each a mean over attributes. They are "
            "no part of the interval, and the interval is none of theirs.",
        ),
        unit=track.unit,
    )


def _counted(scores: Sequence[ScoreRecord]) -> list[ScoreRecord]:
    return [r for r in scores if r.chosen and (r.partition, r.source_kind) == ("test", "all")]


def _seeds(points: Sequence[ScoreRecord]) -> dict[str, set[int]]:
    return {
        method: {record.seed for record in own}
        for method, own in grouped(points, lambda record: record.method).items()
    }


def _row(
    measure: str,
    averages: Sequence[AverageRecord | None],
    points: Sequence[ScoreRecord],
    most: int,
    track: Track[Any],
) -> Row:
    """Return a row; `most` is the number of attributes behind the means of those that have all."""
    method, place = points[0].method, place_of(points, points[0].model)
    cells = [
        replace(cell, fewer=record is not None and len(record.attributes) < most)
        for record in averages
        for cell in _cells(measure, record, points)
    ]
    return Row(measure, method, detail_of(points), track.set_apart(method), tuple(cells), place)


def _cells(measure: str, record: AverageRecord | None, points: Sequence[ScoreRecord]) -> list[TableCell]:
    if record is None:
        return [TableCell()] * len(_NAMES)
    own = [
        p for p in points if p.generalisation == record.generalisation and p.attribute in record.attributes
    ]
    # A fit that failed for an attribute has a mean of another kind.
    whole = [fit for fit in grouped(own, lambda r: r.seed).values() if len(fit) == len(record.attributes)]
    means = [mean([r.value(measure) for r in fit]) for fit in whole]
    n, known = record.n(measure), [value for value in means if value is not None]
    spread = stdev(known) if len(known) > 1 else None
    ends = (min(known), max(known)) if known else (None, None)
    return [
        TableCell(record.value(measure), record.interval(measure), n),
        *(TableCell(value, None, n) for value in (spread, *ends)),
    ]
