"""LoReFT, DiReFT and LoRA at equal steps on the bundled model: accuracy, numbers learned, time.

    python benchmarks/reft.py --into docs/reft.md

Writes, between the markers `reft_table` of the page, a row for each kind on each built-in task. All have the
rank, the layers, the steps, the batches and their order in common, and the seed. The learning rate of each is
the one of `RATES` with the most exact matches on a fifth of the training prompts, which are left out for
that; the table has the held-out questions, asked once.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from measuring import put_between_markers  # noqa: E402

from das.models.base import TargetModel  # noqa: E402
from das.models.load import BUNDLED, load_target  # noqa: E402
from das.reft.settings import ReftConfig, TunedKind  # noqa: E402
from evaluation.tuning.fit import answer_questions, fit_questions, share_right  # noqa: E402
from evaluation.tuning.questions import Question  # noqa: E402
from evaluation.tuning.tasks import TASKS, built_in  # noqa: E402
from ravel.common.seeds import python_stream  # noqa: E402

KINDS: tuple[TunedKind, ...] = ("loreft", "direft", "direft_orthonormal", "lora")
RATES = (1e-3, 3e-3, 1e-2)
HELD_OUT = 0.2


def for_choosing(questions: Sequence[Question]) -> list[Question]:
    """Return the training questions alone, a fifth of them held out."""
    own = [one for one in questions if not one.held_out]
    chosen = set(python_stream(0, "choosing").sample(range(len(own)), len(own) // 5))
    return [replace(one, held_out=place in chosen) for place, one in enumerate(own)]


def best_rate(model: TargetModel, questions: Sequence[Question], config: ReftConfig) -> float:
    """Return the rate with the most exact matches on questions that were held out to choose by."""
    own = for_choosing(questions)
    shares = {}
    for rate in RATES:
        tuned, _ = fit_questions(model, own, config.model_copy(update={"learning_rate": rate}))
        shares[rate] = share_right(answer_questions(model, tuned, own))
    return max(shares, key=lambda rate: shares[rate])


def row(model: TargetModel, task: str, questions: Sequence[Question], kind: TunedKind, steps: int) -> str:
    """Return one row of the table."""
    config = ReftConfig(kind=kind, steps=steps)
    rate = best_rate(model, questions, config)
    start = time.perf_counter()
    tuned, losses = fit_questions(model, questions, config.model_copy(update={"learning_rate": rate}))
    seconds = time.perf_counter() - start
    right = share_right(answer_questions(model, tuned, questions))
    share = tuned.n_parameters / sum(weights.numel() for weights in model.model.parameters())
    cells = [task, f"`{kind}`", f"{right:.3f}", f"{tuned.n_parameters:,}", f"{share:.2%}"]
    return "| " + " | ".join([*cells, f"{rate:g}", f"{losses[-1]:.3f}", f"{seconds:.0f}"]) + " |"


def table(steps: int) -> str:
    """Return the table in Markdown."""
    model = load_target(BUNDLED)
    head = [
        "task",
        "kind",
        "exact match",
        "numbers learned",
        "share of the model",
        "rate",
        "last loss",
        "seconds",
    ]
    lines = ["| " + " | ".join(head) + " |", "| --- | --- |" + " ---: |" * (len(head) - 2)]
    for task in TASKS:
        questions = built_in(task, HELD_OUT, 0)
        before = share_right(answer_questions(model, None, questions))
        lines.append(f"| {task} | the model as it is | {before:.3f} | 0 | 0 |  |  |  |")
        lines += [row(model, task, questions, kind, steps) for kind in KINDS]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--into", type=Path, required=True)
    arguments = parser.parse_args()
    put_between_markers(arguments.into, {"reft_table": table(arguments.steps)})


if __name__ == "__main__":
    main()
