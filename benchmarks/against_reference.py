"""Our scores against those of the public RAVEL code, on the same model, featurizers and exported pairs.

    python benchmarks/against_reference.py CHECKOUT [--model NAME] [--instance FOLDER] [--target ATTRIBUTE]
        [--layer N] [--size N] [--method NAME ...] [--pairs N] [--train-pairs N] [--their-epochs N]
        [--their-rate X] [--json PATH]

CHECKOUT is a clone of github.com/explanare/ravel; nothing of it is in this repository. Each method is trained
by our loop and by theirs on the same pairs, and both featurizers are judged by both evaluators. Exit status 1
if a score differs by more than the public code's rounding of each template's accuracy to two decimals; ours
are rounded so here too.

Left out and counted are pairs on which the two rules differ by design: where one answer begins with the
other (theirs counts both as said, ours the longer one), and where the label's text alone has other tokens
than the model's own answer.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from cases import Case, Plan, bundled_case
from measuring import environment, markdown_table
from reference_bench import MEASURES, WITHIN, Request, compare
from reference_code import Recipe, open_checkout

from das.sites import Site
from ravel.common.errors import SuiteError
from ravel.common.io import write_json

__all__ = ["main", "report", "score_table", "time_table"]


def score_table(found: dict[str, Any]) -> str:
    """Return scores as a Markdown table: a row per featurizer and split, each score from both evaluators."""
    rows = []
    for one in found["results"]:
        for split, here in one["ours"]["scores"].items():
            there = one["theirs"]["scores"][split]
            numbers = [_number(side[name]) for name in MEASURES for side in (here, there)]
            rows.append([one["method"], one["trained_by"], split, *numbers])
    names = [f"{name}, {side}" for name in MEASURES for side in ("ours", "theirs")]
    return markdown_table(["method", "trained by", "split", *names], rows)


def _number(score: float | None) -> str:
    return "-" if score is None else f"{score:.3f}"


def time_table(found: dict[str, Any]) -> str:
    """Return times as a Markdown table: a row per featurizer; judged are all splits together."""
    judged = sum(found["pairs"].values())
    rows = []
    for one in found["results"]:
        fit, ours, theirs = one["train_seconds"], one["ours"]["seconds"], one["theirs"]["seconds"]
        numbers = [fit, one["train_passes"] / fit, ours, judged / ours, theirs, judged / theirs]
        rows.append([one["method"], one["trained_by"], *map("{:.1f}".format, numbers)])
    header = ["method", "trained by", "training, s", "pairs/s", "judged by ours, s", "pairs/s"]
    return markdown_table([*header, "judged by theirs, s", "pairs/s"], rows)


def report(found: dict[str, Any]) -> str:
    """Return what is printed."""
    left = ", ".join(f"{n} ({reason})" for reason, n in found["left_out"].items())
    far = found["apart"]
    lines = [
        f"{found['model']}; {found['site']}, size {found['size']}, target {found['target']}; "
        f"{found['train_pairs']} training pairs; judged {found['pairs']}; left out: {left}.",
        "",
        score_table(found),
        time_table(found),
        *(f"- {note}" for note in found["notes"]),
        "",
        f"Largest difference of a score: {far['largest']:.4f}; "
        f"{len(far['templates_that_differ'])} of {far['templates']} accuracies of templates differ.",
        *far["templates_that_differ"],
    ]
    return "\n".join(lines)


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkout", type=Path, help="a clone of github.com/explanare/ravel")
    parser.add_argument("--model", default="bundled", help="a folder, a hub id or bundled")
    parser.add_argument("--instance", type=Path, help="its instance (default: built now from bundled facts)")
    parser.add_argument("--target", help="the target attribute (default: the first)")
    parser.add_argument("--layer", type=int, help="the block whose output is swapped (default: the middle)")
    parser.add_argument("--size", type=int, default=16, help="dimensions of the subspace")
    parser.add_argument("--method", action="append", choices=["das", "mdas"], help="only these")
    parser.add_argument("--entities", type=int, default=60, help="entities of an instance built now")
    parser.add_argument("--templates", type=int, help="its templates per attribute and partition")
    parser.add_argument("--pairs", type=int, default=300, help="judged pairs of a split")
    parser.add_argument(
        "--train-pairs", type=int, default=600, help="training pairs, all attributes together"
    )
    parser.add_argument("--their-epochs", type=int, default=3, help="passes of their training")
    parser.add_argument("--their-rate", type=float, default=1e-4, help="rate of their training")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads of both sides")
    parser.add_argument("--device", default="cpu", help="where the model runs")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser.parse_args(given)


def _case(given: argparse.Namespace) -> Case:
    plan = Plan(
        train_pairs=given.train_pairs,
        evaluation_pairs=max(32, given.pairs),
        keep_entities=given.entities,
        slow_pairs=0,
        repeats=1,
        attributes=("Country", "Continent", "Language"),
        size=given.size,
        templates=given.templates,
    )
    case = bundled_case(plan, folder=given.instance, device=given.device, model=given.model)
    return case if given.layer is None else replace(case, site=Site(given.layer))


def main(given: Sequence[str] | None = None) -> int:
    """Compare, print and write; return the exit status."""
    arguments = _arguments(given)
    request = Request(
        attribute=arguments.target,
        methods=tuple(arguments.method or ("mdas", "das")),
        pairs=arguments.pairs,
        train_pairs=arguments.train_pairs,
        recipe=Recipe(epochs=arguments.their_epochs, rate=arguments.their_rate),
    )
    torch.set_num_threads(arguments.threads)
    try:
        code = open_checkout(arguments.checkout)
        found = compare(code, _case(arguments), request)
    except SuiteError as error:
        print(error, file=sys.stderr)
        return 2
    print(report(found))
    if arguments.json is not None:
        write_json(arguments.json, {"environment": environment(arguments.device), **found})
    return 1 if found["apart"]["largest"] > WITHIN else 0


if __name__ == "__main__":
    raise SystemExit(main())
