"""What is written of a planted world: a row per fit with score and truth; typed, versioned, no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ravel.common.io import write_jsonl
from ravel.common.typed import Record
from ravel.terms.schema import Generalisation

PLANTED_SCHEMA_VERSION = 1
TRUTH = "truth"
"""Row of the true subspace itself: what can be reached in this world."""
ILLUSION = "illusion"
"""Row of the subspace through which a hidden pathway is taken."""


@dataclass(frozen=True, slots=True)
class PlantedRecord(Record):
    """One line of `planted.jsonl`: a fit, its score on test pairs, and how near it is to the truth."""

    SCHEMA, MEND = PLANTED_SCHEMA_VERSION, "score the planted world again"

    schema_version: int
    """`PLANTED_SCHEMA_VERSION` of the writer."""
    world: str
    """Name of the planted world."""
    layout: str
    """`disjoint`, `shared` or `overlapping`."""
    rotated: bool
    """Whether a rotation hides the coordinates."""
    method: str
    """As on the command line, or `truth`, `illusion`."""
    setting: str
    """The method's settings as canonical JSON; empty for `truth` and `illusion`."""
    attribute: str
    """The target attribute."""
    asked: int | None
    """Number of coordinates asked for; None if the method decides."""
    found: int
    """Dimension of what a swap changes."""
    true: int
    """Dimension of the true subspace."""
    seed: int
    """Root of the fit's random streams."""
    generalisation: Generalisation
    """What is held out."""
    cause: float
    """On test pairs."""
    isolate: float
    """On test pairs."""
    by_kind: Mapping[str, tuple[float | None, float | None]]
    """Cause and isolate by source kind; None for want of pairs."""
    similarity: float
    """tr(P_found P_true) / max(found, true): 1 exactly for the true subspace, 0 for an orthogonal one."""
    largest_angle: float | None
    """Largest principal angle in degrees, over min(found, true) of them; None if nothing was found."""
    mean_angle: float | None
    """Mean principal angle in degrees."""

    @property
    def disentangle(self) -> float:
        """Mean of cause and isolate."""
        return (self.cause + self.isolate) / 2


@dataclass(frozen=True, slots=True)
class ValidityRecord(Record):
    """One line of `validity.jsonl`: how well a score orders fits as the truth does."""

    schema_version: int
    """`PLANTED_SCHEMA_VERSION` of the writer."""
    variant: str
    """Which score: `disentangle`, `cause`, `minimum` and so on."""
    generalisation: Generalisation
    """What is held out."""
    worlds: tuple[str, ...]
    """The worlds whose fits are ordered."""
    rank_correlation: float | None
    """Spearman's correlation of score and similarity to the truth within a target, averaged over the targets;
    None if nothing can be ordered."""
    interval: tuple[float, float] | None
    """95 % percentile interval; methods are resampled, with all their fits."""
    pooled: float | None
    """Spearman's correlation over the fits of all targets at once."""
    methods: int
    """Number of methods."""
    fits: int
    """Number of fits."""


def write_planted(path: Path, records: Iterable[PlantedRecord | ValidityRecord]) -> None:
    """Write records of either kind."""
    write_jsonl(path, (record.to_json() for record in records))
