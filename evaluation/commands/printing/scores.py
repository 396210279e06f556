"""Scores of one featurizer, and of a submission's methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from evaluation.commands.printing.lines import say
from evaluation.commands.printing.tables import print_rows

if TYPE_CHECKING:
    from evaluation.exchange.submission import JudgedSubmission
    from evaluation.records.scores import ScoreRecord

__all__ = ["print_judged", "print_scores"]


def print_scores(records: Sequence[ScoreRecord]) -> None:
    """Print a row per target attribute."""
    first = records[0]
    names, counted = list(first.measures), [n for n, m in first.measures.items() if m.n is not None]
    say(f"{first.method} at {first.site}, size {first.size}, {first.generalisation}_{first.partition} pairs")
    rows = [
        [
            record.attribute,
            *(_number(record.value(name), record.interval(name)) for name in names),
            *(record.n(name) for name in counted),
        ]
        for record in records
    ]
    print_rows(["attribute", *names, *(f"n {name}" for name in counted)], rows)


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


def _number(value: float | None, interval: tuple[float, float] | None = None) -> str:
    if value is None:
        return "no pairs"
    return f"{value:.3f}" + ("" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]")
