"""What bfloat16 gains on this machine, and how many verdicts it changes: one model in both dtypes.

    python benchmarks/half_precision.py [--model smollm2-135m] [--threads N] [--json PATH] [--doc PAGE]

The instance's labels are what the model says in float32. Each dtype fits two epochs of MDAS and scores a
split, cold as a user finds it, in turns; rates are medians. Verdicts are those of the same subspaces, the
fitted one of float32, a random one and the whole vector, in both dtypes: what differs is the dtype's doing.
A run has labels and verdicts of one dtype.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from cases import Case, Plan, bundled_case
from measuring import environment, markdown_table, median, put_between_markers
from sides import EngineSide, start_of

from das.engine.selftest.selftest import proven
from das.featurizers import MaskedBasis, Subspace
from das.featurizers.base import Featurizer
from das.models.load import load_target
from das.threads import using_threads
from ravel.common.io import write_json

DTYPES = ("float32", "bfloat16")
PLAN = Plan(120, 40, 16, 0, 3, attributes=("Country", "Continent", "Language"), epochs=2, templates=3)


def cases(model: str, plan: Plan) -> dict[str, Case]:
    """Return the same case with the model in each dtype."""
    whole = bundled_case(plan, model=model)
    half = proven(load_target(model, dtype="bfloat16"))
    return {"float32": whole, "bfloat16": replace(whole, target=half)}


def swapped_by(case: Case) -> dict[str, Featurizer]:
    """Return the subspaces whose verdicts are compared."""
    return {
        "fitted subspace": EngineSide(case, "resume").fitted(),
        "random subspace": Subspace(start_of(case, seed=1)),
        "whole vector": MaskedBasis(torch.ones(case.target.d_model)),
    }


def changed(of_dtype: Mapping[str, Case]) -> dict[str, dict[str, int]]:
    """Return, for each subspace, how many verdicts there are and how many differ between the dtypes."""
    found = {}
    for name, featurizer in swapped_by(of_dtype["float32"]).items():
        said = [EngineSide(case, "resume").outcomes_with(featurizer) for case in of_dtype.values()]
        verdicts = [[(o.said_swapped, o.said_unchanged) for o in outcomes] for outcomes in said]
        pairs = list(zip(*verdicts, strict=True))
        found[name] = {
            "verdicts": 2 * len(pairs),
            "changed": sum(a != b for one, other in pairs for a, b in zip(one, other, strict=True)),
        }
    return found


def rates(of_dtype: Mapping[str, Case], repeats: int) -> dict[str, dict[str, float]]:
    """Return pairs per second of whole fits and whole scorings in each dtype, medians of turns."""
    timed: dict[str, dict[str, list[float]]] = {d: {"training": [], "scoring": []} for d in of_dtype}
    for turn in range(repeats + 1):
        for dtype, case in of_dtype.items():
            side = EngineSide(case, "resume")
            for work, run in (("training", side.fit), ("scoring", side.score)):
                rate = run()["whole"]
                if turn:
                    timed[dtype][work].append(rate)
    return {dtype: {work: median(all_of) for work, all_of in of.items()} for dtype, of in timed.items()}


def tables(measured: Mapping[str, Any]) -> str:
    """Return rates and changed verdicts as Markdown."""
    by_dtype = measured["rates"]
    rows = [
        [
            work,
            *(f"{by_dtype[d][work]:.1f}" for d in DTYPES),
            f"{by_dtype['bfloat16'][work] / by_dtype['float32'][work]:.2f}",
        ]
        for work in ("training", "scoring")
    ]
    flips = [
        [name, str(one["verdicts"]), str(one["changed"]), f"{100 * one['changed'] / one['verdicts']:.1f} %"]
        for name, one in measured["verdicts"].items()
    ]
    first = markdown_table(["pairs per second, whole", *DTYPES, "ratio"], rows)
    second = markdown_table(["what is swapped", "verdicts", "other in bfloat16", "share"], flips)
    return f"{measured['of']}\n\n{first}\n{second}"


def main(given: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--model", default="smollm2-135m", help="a name of `ravel model fetch`, a folder, or bundled"
    )
    parser.add_argument("--threads", type=int, help="threads of torch")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--doc", type=Path, help="put the tables between the markers of this page")
    arguments = parser.parse_args(given)
    with using_threads(arguments.threads or torch.get_num_threads()):
        of_dtype = cases(arguments.model, PLAN)
        machine = environment("cpu")
        threads = torch.get_num_threads()
        measured = {
            "of": f"{arguments.model} on {machine['processor']}, {threads} threads.",
            "environment": machine,
            "rates": rates(of_dtype, PLAN.repeats),
            "verdicts": changed(of_dtype),
        }
    print(tables(measured))
    if arguments.json is not None:
        write_json(arguments.json, measured)
    if arguments.doc is not None:
        put_between_markers(arguments.doc, {"half-precision": tables(measured)})


if __name__ == "__main__":
    main()
