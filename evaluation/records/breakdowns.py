"""Isolate by dependence as it lies on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from evaluation.records.scores import Interval
from ravel.common.typed import Record
from ravel.terms.schema import Generalisation, Partition

BREAKDOWN_SCHEMA_VERSION = 1
ALL_OTHERS = "*"
"""In place of the asked attribute: the mean over all attributes but the target."""
Part = Literal["same", "changes"]
PARTS: tuple[Part, Part] = ("same", "changes")


@dataclass(frozen=True, slots=True)
class BreakdownRecord(Record):
    """One line of `breakdowns.jsonl`: isolate of a chosen point on a part of the isolate pairs."""

    SCHEMA, MEND = BREAKDOWN_SCHEMA_VERSION, "remove the file and run ravel report, which makes it again"

    schema_version: int
    """`BREAKDOWN_SCHEMA_VERSION` of the writer."""
    method: str
    """As on the command line."""
    entity_type: str
    """As in the instance."""
    model: str
    """Name of the target model."""
    attribute: str
    """The target attribute."""
    seeds: tuple[int, ...]
    """The seeds that were averaged."""
    generalisation: Generalisation
    """What is held out."""
    partition: Partition
    """`val` or `test`."""
    asked: str
    """The attribute that the pairs ask for, or `ALL_OTHERS`."""
    by: str
    """The attribute whose value stays or changes between base and source entity."""
    part: Part
    """Which pairs count."""
    isolate: float | None
    """Share that kept the base's answer, macro over templates, then attributes; None exactly if `n` is 0."""
    isolate_interval: Interval | None
    """95 %, with entities and templates as clusters."""
    n: int
    """Number of pairs in the part."""
    of: int
    """Number of pairs in both parts and of unknown value."""
    reason: str | None
    """Why the part is empty; None if it is not."""
