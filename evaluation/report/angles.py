"""Angles between what the featurizers of one method swap, as records per pair; it reads no files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from das.featurizers.base import Featurizer
from das.featurizers.geometry import overlap, principal_cosines
from evaluation.records.overlaps import AngleRecord

__all__ = ["FittedPart", "angle_records"]


@dataclass(frozen=True, slots=True)
class FittedPart:
    """A featurizer and what it was fitted for."""

    method: str
    """The method that made it."""
    attribute: str
    """The target attribute; `*` where the fit knows none."""
    seed: int
    """Root of the fit's random streams."""
    site: str
    """Where it acts."""
    featurizer: Featurizer
    """The featurizer."""


def angle_records(parts: Sequence[FittedPart]) -> list[AngleRecord]:
    """Return a record for every two parts of one method at one site, unless one of them is empty.

    Parts of different sites have no angle. The order is that of the parts.
    """
    records = []
    for first, second in combinations(parts, 2):
        if (first.method, first.site) == (second.method, second.site):
            record = _record(first, second)
            records += [] if record is None else [record]
    return records


def _record(first: FittedPart, second: FittedPart) -> AngleRecord | None:
    cosines = principal_cosines(first.featurizer, second.featurizer)
    shared = overlap(cosines)
    if shared is None:
        return None
    sizes, width = (first.featurizer.size, second.featurizer.size), first.featurizer.width
    return AngleRecord(
        method=first.method,
        site=first.site,
        first=first.attribute,
        first_seed=first.seed,
        first_size=sizes[0],
        second=second.attribute,
        second_seed=second.seed,
        second_size=sizes[1],
        width=width,
        cosines=tuple(cosines.tolist()),
        overlap=shared,
        chance=min(1.0, max(sizes) / width),
    )
