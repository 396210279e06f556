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

_MEASURES = ("cause", "isolate", "disentangle")


def print_scores(records: Sequence[ScoreRecord]) -> None:
    """Print a row per target attribute."""
    first = records[0]
    say(f"{first.method} at {first.site}, size {first.size}, {first.generalisation}_{first.partition} pairs")
    rows = [
        [
            record.attribute,
            *(_number(getattr(record, name), getattr(record, f"{name}_interval")) for name in _MEASURES),
            record.n_cause,
            record.n_isolate,
        ]
        for record in records
    ]
    print_rows(["attribute", *_MEASURES, "n cause", "n isolate"], rows)


def print_judged(judged: JudgedSubmission) -> None:
    """Print a row per method and test split, and whether what was claimed is true."""
    for note in judged.notes:
        say(note)
    rows = [
        [
            record.method,
            ", ".join(record.attributes),
            record.generalisation,
            *(_number(getattr(record, name)) for name in _MEASURES),
        ]
        for record in judged.averages
        if record.source_kind == "all"
    ]
    print_rows(["method", "attributes", "test split", *_MEASURES], rows)
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
