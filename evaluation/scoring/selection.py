"""Choosing site, size and setting of a method on validation pairs; it refuses to look at a test record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from das.sites import Site
from evaluation.records.scores import ScoreRecord
from evaluation.scoring.mean import mean
from evaluation.scoring.track import Track
from ravel.common.errors import SuiteError


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a method's grid; seeds and generalisations of a point are averaged, never chosen among."""

    site: Site
    """Where the featurizer acts."""
    size: int | None
    """The size that was asked for; None if it follows from the method."""
    setting: str
    """The method's config as canonical JSON."""


def choose_point(candidates: Mapping[Point, Sequence[ScoreRecord]], track: Track[Any], *, by: str) -> Point:
    """Return the point with the best mean of a measure on validation cases.

    Generalisations and seeds weigh alike. Ties go to the smaller size, then to the lower layer, then to the
    setting and site that come first as text. A lone point is returned as it is, for there is nothing to
    choose. Raises SuiteError if a record is not of the `val` partition, if there is no candidate, or if none
    of several has a score.
    """
    for records in candidates.values():
        _refuse_test(records)
    if len(candidates) == 1:
        return next(iter(candidates))
    scored = {point: validation_score(records, by=by) for point, records in candidates.items()}
    known = {point: score for point, score in scored.items() if score is not None}
    if not known:
        raise SuiteError(
            expected="validation scores to choose site and size by",
            came=f"none for any of {len(candidates)} candidates",
            todo=f"use an instance with {track.validated_by} to validate on, or fix one site and size",
        )
    return min(known, key=lambda point: (-track.merit(by, known[point]), *_preference(point)))


def validation_score(records: Sequence[ScoreRecord], *, by: str) -> float | None:
    """Return the mean of a measure of a point's records over generalisations and seeds, or None if there is
    none.

    Raises SuiteError if a record is not of the `val` partition.
    """
    _refuse_test(records)
    found = [record.value(by) for record in records]
    return mean([score for score in found if score is not None])


def _refuse_test(records: Sequence[ScoreRecord]) -> None:
    for record in records:
        if record.partition != "val":
            raise SuiteError(
                expected="only validation records where a point is chosen",
                came=f"a {record.partition} record of {record.method} on {record.attribute}",
                todo="select on partition 'val'; test records may only be reported",
            )


def _preference(point: Point) -> tuple[int, int, str, str]:
    return (point.size or 0, point.site.layer, point.setting, str(point.site))
