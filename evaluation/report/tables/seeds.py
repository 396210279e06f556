"""The table of seeds: how far the fits of one method lie apart, beside the interval over entities and
templates; it knows no outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any

from evaluation.records.scores import AverageRecord, ScoreRecord
from evaluation.report.tables.model import Column, Row, Table, TableCell
from evaluation.report.tables.notes import mark_notes
from evaluation.report.tables.rows import detail_of, ordered_methods, place_of
from evaluation.scoring.track import Track
from ravel.common.errors import SuiteError
from ravel.common.seeds import grouped
from ravel.terms.schema import GENERALISATIONS

__all__ = ["has_seeds", "seed_table"]

_NAMES = ("mean", "sd of fits", "lowest fit", "highest fit")


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
    means: Sequence[AverageRecord | None],
    points: Sequence[ScoreRecord],
    most: int,
    track: Track[Any],
) -> Row:
    """Return a row; `most` is the number of attributes behind the means of those that have all."""
    method, place = points[0].method, place_of(points, points[0].model)
    cells = [
        replace(cell, fewer=mean is not None and len(mean.attributes) < most)
        for mean in means
        for cell in _cells(measure, mean, points)
    ]
    return Row(measure, method, detail_of(points), track.set_apart(method), tuple(cells), place)


def _cells(measure: str, mean: AverageRecord | None, points: Sequence[ScoreRecord]) -> list[TableCell]:
    if mean is None:
        return [TableCell()] * len(_NAMES)
    own = [p for p in points if p.generalisation == mean.generalisation and p.attribute in mean.attributes]
    fits = [_mean(measure, fit) for fit in grouped(own, lambda record: record.seed).values()]
    n, known = mean.n(measure), [value for value in fits if value is not None]
    spread = stdev(known) if len(known) > 1 else None
    ends = (min(known), max(known)) if known else (None, None)
    return [
        TableCell(mean.value(measure), mean.interval(measure), n),
        *(TableCell(value, None, n) for value in (spread, *ends)),
    ]


def _mean(measure: str, fit: Sequence[ScoreRecord]) -> float | None:
    """Return the mean over attributes of one fit."""
    values = [value for record in fit if (value := record.value(measure)) is not None]
    return fmean(values) if values and len(values) == len(fit) else None
