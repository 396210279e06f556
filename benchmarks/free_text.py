"""Cause and isolate by free text beside those by forced labels, for every chosen point of a finished run.

    python benchmarks/free_text.py RUN [--model NAME] [--attribute NAME] [--pairs N] [--tokens N]
    [--samples N] [--split NAME] [--json PATH] [--doc PAGE [--marker NAME]]

RUN is a finished run of the track interchange, such as the folder of `ravel demo`. Validation pairs; no test
pair is read. Intervals are 95 % over base entities. One thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from measuring import environment, markdown_table, put_between_markers

from das.threads import one_thread
from evaluation.config.target import TargetConfig
from evaluation.suite.folders import model_named_in
from evaluation.validity.free_text.over_run import TextRow, TextShares, TextTarget, share_text
from evaluation.validity.free_text.share import FreeTextConfig, FreeTextScore
from ravel.common.io import write_json

HEADER = (
    "method, target",
    "cause",
    "by labels",
    "isolate",
    "by labels",
    "undecided",
    "base run",
    "source run",
)


def table_of(found: TextShares) -> str:
    """Return a row for each point that has scores, and the agreement of both kinds."""
    rows = [cells(row, row.score) for row in found.rows if row.score is not None]
    agreed = [
        f"{name} {value:.3f}"
        for name, value in (("cause", found.cause_agreement), ("isolate", found.isolate_agreement))
        if value is not None
    ]
    said = f"\nRank correlation with forced labels: {', '.join(agreed)}.\n" if agreed else ""
    return markdown_table(HEADER, rows) + said


def cells(row: TextRow, score: FreeTextScore) -> list[str]:
    """Return a row's cells."""
    target, others = score.target, score.others
    return [
        f"{row.method}, {row.attribute}",
        shown(score.cause, score.cause_interval),
        f"{target.said_swapped:.3f}",
        shown(score.isolate, score.isolate_interval),
        "–" if others is None else f"{others.said_unchanged:.3f}",
        f"{target.undecided:.3f}",
        f"{target.base_run:.3f}",
        f"{target.source_run:.3f}",
    ]


def shown(value: float | None, interval: tuple[float, float] | None) -> str:
    """Return a share with its interval; a dash where none is identifiable."""
    if value is None or interval is None:
        return "–" if value is None else f"{value:.3f}"
    return f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run")
    parser.add_argument("--model", help="by default the run's")
    parser.add_argument("--attribute", help="only this target; by default all")
    parser.add_argument("--pairs", type=int, default=60, help="cause pairs, and isolate pairs (default 60)")
    parser.add_argument("--tokens", type=int, default=24, help="new tokens of a text (default 24)")
    parser.add_argument("--samples", type=int, default=8, help="texts drawn per prompt (default 8)")
    parser.add_argument("--split", choices=("context", "entity"), default="context", help="what is held out")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--doc", type=Path, help="put the table into this page")
    parser.add_argument("--marker", default="free-text", help="between these markers (default free-text)")
    asked = parser.parse_args(argv)
    config = FreeTextConfig(
        generalisation=asked.split, limit_pairs=asked.pairs, tokens=asked.tokens, samples=asked.samples
    )
    began = time.process_time()
    with one_thread():
        target = TargetConfig(model=asked.model or model_named_in(asked.run))
        found = share_text(TextTarget(asked.run, attribute=asked.attribute), target, config)
    seconds = time.process_time() - began
    table = (
        f"{table_of(found)}\nAt most {asked.pairs} pairs of each kind, of {found.split}; {seconds:.0f} s of "
        "a processor in all.\n"
    )
    print(table)
    if asked.json is not None:
        write_json(asked.json, {"environment": environment("cpu"), "seconds": seconds, **found.to_json()})
    if asked.doc is not None:
        put_between_markers(asked.doc, {asked.marker: table})


if __name__ == "__main__":
    main()
