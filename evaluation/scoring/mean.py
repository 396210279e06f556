"""Means of scores of which some may be missing; it knows no measure."""

from __future__ import annotations

import math
from collections.abc import Sequence


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of scores; None if one is missing, or there is none."""
    known = [value for value in values if value is not None]
    # fsum: no score may depend on the order in which templates or seeds were judged, nor on their names.
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def midpoint(first: float | None, second: float | None) -> float | None:
    """Return the mean of two scores, None if one is missing."""
    return None if first is None or second is None else (first + second) / 2
