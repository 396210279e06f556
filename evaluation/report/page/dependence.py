"""The block of the page on how attributes hang together and how even values are; it computes no score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.records.run_records import RunRecords
from evaluation.records.scores import AverageRecord
from evaluation.report.tables import Table, balanced_table, dependence_table
from evaluation.scoring.interchange.post_hoc import Derived, read_derived
from evaluation.scoring.track import Track
from ravel.checking.dependence import BOUND_REDUCTION, BOUND_SHARE, Dependence, Skew, preferred

SOURCES = {
    "facts": "all facts that are bundled for this type",
    "labels": "the model's labels for the entities of this instance, as the facts are not at hand",
}
"""Where dependence and skew are taken from, in words."""


@dataclass(frozen=True, slots=True)
class DependenceBlock:
    """What the page says of dependence, skew and balance."""

    dependence: tuple[Dependence, ...] = ()
    """From one source."""
    skew: tuple[Skew, ...] = ()
    """From the same source."""
    tables: tuple[tuple[str, Table], ...] = ()
    """Tables with what their summaries say."""


def dependence_block(
    records: RunRecords, averages: Sequence[AverageRecord], track: Track[Any]
) -> DependenceBlock:
    """Read the block of a run, or compute it for a run that was published without; empty if it has no
    instance."""
    derived = read_derived(records, track)
    dependence = preferred(derived.dependence)
    sources = {record.source for record in dependence}
    skew = [record for record in derived.skew if record.source in sources]
    return DependenceBlock(tuple(dependence), tuple(skew), tuple(_tables(records, derived, averages)))


def skew_grid(block: DependenceBlock) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return header and rows of the table of values."""
    header = ("attribute", "entities", "values", "commonest", "its share", "new in val", "new in test")
    rows: list[tuple[str, ...]] = [
        (
            *(record.attribute, str(record.n), str(record.values), record.commonest),
            *(_number(record.majority), _number(record.new_val), _number(record.new_test)),
        )
        for record in block.skew
    ]
    return header, rows


def bound_sentences(block: DependenceBlock) -> list[str]:
    """Return the rule by which one attribute is bound to another, and to which it applies."""
    rule = (
        f"One attribute is bound to another if it tells it for {BOUND_SHARE:.0%} of entities, each guessed "
        f"from the others, and avoids {BOUND_REDUCTION:.0%} of the errors of guessing the commonest value."
    )
    said = [
        f"{record.given} tells {record.told} for {record.left_out:.2f} of {record.n} entities; guessing "
        f"blindly is right for {record.majority:.2f}."
        for record in block.dependence
        if record.bound
    ]
    return [rule, *(said or ["No attribute is."])]


def _tables(
    records: RunRecords, derived: Derived, averages: Sequence[AverageRecord]
) -> list[tuple[str, Table]]:
    tables = []
    if derived.breakdowns:
        summary = "Isolate where values stay the same, and where they change"
        tables.append((summary, dependence_table(records.scores, derived.breakdowns)))
    if derived.balanced:
        table = balanced_table(records.scores, averages, derived.balanced, refusals=records.refusals)
        tables.append(("Class-balanced scores", table))
    return tables


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
