"""Angles between what the featurizers of one method swap, as records per pair.

Loads without torch, which only the functions need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.records.overlaps import AngleRecord

if TYPE_CHECKING:
    from das.featurizers.base import Featurizer


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


def read_parts(cells: Sequence[Path]) -> list[FittedPart]:
    """Read the featurizers of these cells' folders, where there are any, sorted by what they were fitted for.

    What swaps the whole vector whatever the attribute is left out: it overlaps with itself, which is no news.
    So is what swaps no linear part, which has no angle.
    """
    from das.edits.storage import load_finding
    from das.featurizers.geometry import LINEAR_PARTS

    parts = []
    for folder in cells:
        if (folder / "featurizer.json").is_file():
            featurizer, header = load_finding(folder)
            if not isinstance(featurizer, LINEAR_PARTS):
                continue
            if header.attribute != "*" or featurizer.size < featurizer.width:
                fitted = (header.method, header.attribute, header.seed, str(header.site))
                parts.append(FittedPart(*fitted, featurizer))
    return sorted(parts, key=lambda p: (p.method, p.attribute, p.seed, p.site))


def angle_records(parts: Sequence[FittedPart]) -> list[AngleRecord]:
    """Return a record for every two parts of one method at one site, unless one of them is empty.

    Parts of different sites have no angle. The order is that of the parts.
    """
    pairs = combinations(parts, 2)
    records = [_record(a, b) for a, b in pairs if (a.method, a.site) == (b.method, b.site)]
    return [record for record in records if record is not None]


def _record(first: FittedPart, second: FittedPart) -> AngleRecord | None:
    from das.featurizers.geometry import overlap, principal_cosines

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
