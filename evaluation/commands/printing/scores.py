"""Scores of one featurizer, and of a submission's methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from evaluation.commands.printing.lines import say
from evaluation.commands.printing.text import print_notes, print_rows

if TYPE_CHECKING:
    from evaluation.exchange.submission import JudgedSubmission
    from evaluation.records.scores import ScoreRecord


def print_scores(records: Sequence[ScoreRecord]) -> None:
    """Print a row per target attribute and measure, and each criterion beside what doing nothing scores."""
    # Tables bring along what the command line would start slowly with.
    from evaluation.report.tables.notes import beside_nothing

    first = records[0]
    say(f"{first.method} at {first.site}, size {first.size}, {first.generalisation}_{first.partition} pairs")
    rows = [
        [
            record.attribute,
            name,
            _number(record.value(name)),
            _ends(record.interval(name)),
            _count(record, name),
        ]
        for record in records
        for name in record.measures
    ]
    print_rows(["attribute", "score", "value", "95 % interval", "n"], rows)
    print_notes(note for record in records if (note := beside_nothing(record)))


def print_judged(judged: JudgedSubmission) -> None:
    """Print a row per method and test split, and whether what was claimed is true."""
    for note in judged.notes:
        say(note)
    names = list(judged.scores[0].measures)
    rows = [
        [
            record.method,
            ", ".join(record.attributes),
            record.generalisation,
            *(_number(record.value(name)) for name in names),
        ]
        for record in judged.averages
        if record.source_kind == "all"
    ]
    print_rows(["method", "attributes", "test split", *names], rows)
    if not judged.claimed:
        say("no score is claimed")
    elif judged.sound:
        say(f"all {judged.claimed} claimed scores are what the model gives")
    else:
        say(f"{len(judged.differences)} differences from what is claimed")


def _number(value: float | None) -> str:
    return "no pairs" if value is None else f"{value:.3f}"


def _ends(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"[{interval[0]:.3f}, {interval[1]:.3f}]"


def _count(record: ScoreRecord, name: str) -> str:
    return "" if record.measures[name].n is None else str(record.n(name))
