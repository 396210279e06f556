"""What else changed when an attribute was swapped, as records per pair of attributes; torch-free, reads no
files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from evaluation.records.scores import Outcome
from evaluation.scoring.metrics import cause, isolate_from
from ravel.facts.schema import Generalisation, Partition

__all__ = ["EntanglementRecord", "entanglement_records"]


@dataclass(frozen=True, slots=True)
class EntanglementRecord:
    """What the pairs of one attribute said after the featurizer of another (or its own) was swapped."""

    method: str
    """The method that made the featurizer."""
    entity_type: str
    """As in the instance."""
    model: str
    """Name of the target model."""
    site: str
    """Where the featurizer acts."""
    size: int
    """Number of swapped coordinates."""
    seed: int
    """Root of the fit's random streams."""
    generalisation: Generalisation
    """What is held out."""
    partition: Partition
    """`val` or `test`."""
    swapped: str
    """The target attribute of the featurizer."""
    asked: str
    """The attribute that the pairs ask for."""
    kept: float
    """Share that gave the base's answer, macro over templates; isolate of `swapped` from `asked`."""
    took: float
    """Share that gave the source's answer, macro over templates; cause where both attributes are one."""
    other: float
    """Share that gave neither."""
    n: int
    """Number of pairs."""

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain values."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def entanglement_records(
    outcomes: Sequence[Outcome],
    swapped: str,
    *,
    method: str,
    entity_type: str,
    model: str,
    site: str,
    size: int,
    seed: int,
    generalisation: Generalisation,
    partition: Partition,
) -> list[EntanglementRecord]:
    """Return a record per attribute that the outcomes ask for, sorted, the swapped one among them.

    `outcomes` are those of the featurizer of `swapped` on all pairs of one split. Shares are averaged as the
    scores are, so that the diagonal's `took` is cause and the mean of the others' `kept` is isolate.
    """
    records = []
    for asked in sorted({outcome.attribute for outcome in outcomes}):
        own = [outcome for outcome in outcomes if outcome.attribute == asked]
        kept, took = isolate_from(own, asked), cause(own, asked)
        assert kept.value is not None
        assert took.value is not None
        record = EntanglementRecord(
            method=method,
            entity_type=entity_type,
            model=model,
            site=site,
            size=size,
            seed=seed,
            generalisation=generalisation,
            partition=partition,
            swapped=swapped,
            asked=asked,
            kept=kept.value,
            took=took.value,
            other=max(0.0, 1.0 - kept.value - took.value),
            n=kept.n,
        )
        records.append(record)
    return records
