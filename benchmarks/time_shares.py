"""Where the time of `resume` goes: matrix products, attention, memory, the other operations, Python.

    python benchmarks/time_shares.py [--case KEY ...] [--dtype D] [--quick] [--json PATH] [--doc PAGE]

One thread, torch's profiler. A case is `bundled`, or a shape with random weights. The works are what users
wait for: `completing` asks a build's questions, `filling` runs all rows up to the site, `training` is a pass
over the pairs of an MDAS fit once that is done, `scoring` judges both answers of each pair then. What no
operation accounts for is Python and the calls themselves.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from cases import SHAPES, Case, Plan, bundled_case, shape_case
from measuring import environment, markdown_table, put_between_markers
from sides import start_of
from torch.profiler import ProfilerActivity, profile

from das.engine import make_engine
from das.engine.base.protocol import AnswerPair, Engine, FeaturizedPairs
from das.featurizers import Subspace
from das.threads import one_thread
from ravel.common.io import write_json

KINDS = ("products", "attention", "memory", "other operations", "Python")
_OF_KIND = {
    "products": {"mm", "addmm", "bmm", "baddbmm", "linear", "matmul"},
    "memory": {
        "copy_",
        "clone",
        "cat",
        "stack",
        "index",
        "index_select",
        "index_copy_",
        "index_put_",
        "_index_put_impl_",
        "gather",
        "embedding",
        "empty",
        "empty_strided",
        "fill_",
        "zero_",
        "constant_pad_nd",
    },
}
WORKS = ("completing", "filling", "training", "scoring")


def kind_of(operation: str) -> str:
    """Return which kind an operation of torch's is of, by its name, such as `aten::mm`."""
    name = operation.removeprefix("aten::")
    if "attention" in name:
        return "attention"
    return next((kind for kind, names in _OF_KIND.items() if name in names), "other operations")


def shares(run: Callable[[], object]) -> dict[str, float]:
    """Return which share of a run's time each kind takes, and its `seconds` without the profiler."""
    start = time.perf_counter()
    run()
    seconds = time.perf_counter() - start
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        start = time.perf_counter()
        run()
        watched = time.perf_counter() - start
    spent = dict.fromkeys(KINDS, 0.0)
    for event in seen.key_averages():
        if event.key.startswith("aten::"):
            spent[kind_of(event.key)] += event.self_cpu_time_total / 1e6
    spent["Python"] = max(0.0, watched - sum(spent.values()))
    return {**{kind: part / watched for kind, part in spent.items()}, "seconds": seconds}


def works(case: Case, engine: Engine) -> dict[str, Callable[[], object]]:
    """Return the works of a case by name. Each can be run again and again; only `filling` begins anew."""
    featurizer = Subspace(start_of(case))
    pairs = [pair.forced for pair in case.training]
    choices = [AnswerPair(one.base, one.source, (one.unchanged, one.swapped)) for one in case.asked]
    prompts = [record.prompt for record in case.instance.prompts() if record.prompt.attribute]

    def training() -> None:
        columns = start_of(case).requires_grad_()
        size = case.plan.batch_size
        for first in range(0, len(pairs), size):
            with torch.enable_grad():
                group = FeaturizedPairs(pairs[first : first + size], Subspace(columns))
                loss = engine.forced_labels([group], case.site)[0].cross_entropy.mean()
            torch.autograd.grad(loss, columns)

    return {
        "completing": lambda: engine.complete(prompts, 6),
        "filling": lambda: make_engine("resume", case.target).prefill(pairs, case.site),
        "training": training,
        "scoring": lambda: engine.predicts(choices, case.site, featurizer),
    }


def measure(case: Case) -> dict[str, dict[str, float]]:
    """Return the shares of each work of a case."""
    engine = make_engine("resume", case.target)
    todo = works(case, engine)
    for name in ("training", "scoring"):
        todo[name]()
    return {name: shares(todo[name]) for name in WORKS}


def page(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Return the shares as a Markdown table: a row per case and work."""
    rows = [
        [case, work, *(f"{100 * one[kind]:.0f} %" for kind in KINDS), f"{one['seconds']:.2f}"]
        for case, of_case in found.items()
        for work, one in of_case.items()
    ]
    return markdown_table(["model", "work", *KINDS, "seconds"], rows)


def _case(key: str, dtype: str, *, quick: bool) -> Case:
    if key == "bundled":
        return bundled_case(Plan(300 if quick else 1000, 64, 40, 0, 1))
    return shape_case(key, Plan(48 if quick else 160, 24, 16, 0, 1), dtype=dtype)


def main(given: Sequence[str] | None = None) -> None:
    """Profile and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--case", action="append", choices=["bundled", *SHAPES], help="only these")
    parser.add_argument("--dtype", default="float32", help="dtype of random weights; `bundled` is float32")
    parser.add_argument("--quick", action="store_true", help="fewer pairs")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--doc", type=Path, help="put the table between the markers of this page")
    arguments = parser.parse_args(given)
    keys = arguments.case or ["bundled", "gpt2", "smollm2-135m"]
    found: dict[str, Any] = {}
    with one_thread():
        for key in keys:
            case = _case(key, arguments.dtype, quick=arguments.quick)
            found[case.name] = measure(case)
        print(page(found))
        machine = environment("cpu")
    if arguments.json is not None:
        write_json(arguments.json, {"environment": machine, "shares": found})
    if arguments.doc is not None:
        put_between_markers(arguments.doc, {"time-shares": page(found)})


if __name__ == "__main__":
    main()
