"""LoReFT, DiReFT and LoRA at equal steps on the bundled model: accuracy, numbers learned, time.

    python benchmarks/reft.py --rows reft-rows.jsonl --into docs/reft.md

Writes, between the markers `reft_table` of the page, a row for each kind on each built-in task. All have the
rank, the layers, the steps, the batches and their order in common, and the seed. The learning rate of each is
the one of `RATES` with the least loss after a third of the steps, the mean of the last ten; no held-out
question is asked for that. Rows that are finished are kept in `--rows`, so that a stopped run goes on.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from measuring import put_between_markers  # noqa: E402

from das.models.base import TargetModel  # noqa: E402
from das.models.load import BUNDLED, load_target  # noqa: E402
from das.reft.settings import ReftConfig, TunedKind  # noqa: E402
from evaluation.tuning.fit import answer_questions, fit_questions, share_right  # noqa: E402
from evaluation.tuning.questions import Question  # noqa: E402
from evaluation.tuning.tasks import TASKS, built_in  # noqa: E402
from ravel.common.io import append_text, canonical_json, read_jsonl  # noqa: E402

KINDS: tuple[TunedKind, ...] = ("loreft", "direft", "direft_orthonormal", "lora")
RATES = (5e-3, 2e-2)
HELD_OUT = 0.2
LAST = 10
HEAD = ("task", "kind", "exact match", "numbers learned", "share", "rate", "last loss", "processor seconds")


def best_rate(model: TargetModel, questions: Sequence[Question], config: ReftConfig, steps: int) -> float:
    """Return the rate with the least loss after a third of the steps."""
    losses = {}
    for rate in RATES:
        tried = config.model_copy(update={"learning_rate": rate, "steps": steps // 3})
        losses[rate] = sum(fit_questions(model, questions, tried)[1][-LAST:])
    return min(losses, key=lambda rate: losses[rate])


def measured(
    model: TargetModel, questions: Sequence[Question], kind: TunedKind, steps: int
) -> dict[str, Any]:
    """Return what one kind comes to."""
    config = ReftConfig(kind=kind, steps=steps)
    rate = best_rate(model, questions, config, steps)
    start = time.process_time()
    tuned, losses = fit_questions(model, questions, config.model_copy(update={"learning_rate": rate}))
    seconds = time.process_time() - start
    return {
        "right": share_right(answer_questions(model, tuned, questions)),
        "n": tuned.n_parameters,
        "share": tuned.n_parameters / sum(weights.numel() for weights in model.model.parameters()),
        "rate": rate,
        "loss": sum(losses[-LAST:]) / LAST,
        "seconds": seconds,
    }


def rows(path: Path, tasks: Sequence[str], steps: int) -> list[dict[str, Any]]:
    """Return all rows, those that were kept among them."""
    kept = [row for _, row in read_jsonl(path)] if path.is_file() else []
    known = {(row["task"], row["kind"]): row for row in kept if row["steps"] == steps}
    model, found = load_target(BUNDLED), []
    for task in tasks:
        questions = built_in(task, HELD_OUT, 0)
        for kind in KINDS:
            if (task, kind) not in known:
                row = {"task": task, "kind": kind, "steps": steps, **measured(model, questions, kind, steps)}
                append_text(path, canonical_json(row) + "\n")
                known[task, kind] = row
            found.append(known[task, kind])
    return found


def table(found: Sequence[dict[str, Any]]) -> str:
    """Return the table in Markdown."""
    lines = ["| " + " | ".join(HEAD) + " |", "| --- | --- |" + " ---: |" * (len(HEAD) - 2)]
    for row in found:
        cells = [
            row["task"],
            f"`{row['kind']}`",
            f"{row['right']:.3f}",
            f"{row['n']:,}",
            f"{row['share']:.2%}",
        ]
        cells += [f"{row['rate']:g}", f"{row['loss']:.3f}", f"{row['seconds']:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--into", type=Path, required=True)
    arguments = parser.parse_args()
    found = rows(arguments.rows, arguments.tasks, arguments.steps)
    put_between_markers(arguments.into, {"reft_table": table(found)})


if __name__ == "__main__":
    main()
