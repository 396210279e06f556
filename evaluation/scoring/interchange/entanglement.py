"""What else changed when an attribute was swapped, as records per pair of attributes; torch-free, reads no
files."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.records.overlaps import EntanglementRecord
from evaluation.records.scores import Outcome, ScoreRecord
from evaluation.scoring.interchange.metrics import cause, isolate_from


def entanglement_records(outcomes: Sequence[Outcome], scored: ScoreRecord) -> list[EntanglementRecord]:
    """Return a record per attribute that the outcomes ask for, sorted, the swapped one among them.

    `outcomes` are those of the featurizer of `scored`, which names it, on all pairs of one split. Shares are
    averaged as the scores are, so that the diagonal's `took` is cause and the mean of the others' `kept` is
    isolate.
    """
    records = []
    for asked in sorted({outcome.attribute for outcome in outcomes}):
        own = [outcome for outcome in outcomes if outcome.attribute == asked]
        kept, took = isolate_from(own, asked), cause(own, asked)
        assert kept.value is not None
        assert took.value is not None
        record = EntanglementRecord(
            method=scored.method,
            entity_type=scored.entity_type,
            model=scored.model,
            site=scored.site,
            size=scored.size,
            seed=scored.seed,
            generalisation=scored.generalisation,
            partition=scored.partition,
            swapped=scored.attribute,
            asked=asked,
            kept=kept.value,
            took=took.value,
            other=max(0.0, 1.0 - kept.value - took.value),
            n=kept.n,
        )
        records.append(record)
    return records
