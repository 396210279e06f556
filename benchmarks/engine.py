"""Pairs per second of our engines beside the public way, training and scoring, all sides in one run.

    python benchmarks/engine.py [--quick] [--threads N] [--memory] [--json PATH] [--plot PATH] [--doc PAGE]
    python benchmarks/engine.py --shape llama-1b --device cuda --dtype bfloat16
    python benchmarks/engine.py --load [--threads N] [--json PATH] [--doc PAGE]

Sides take turns, so that a busy machine slows all alike; a figure is the median of its repeats. What they
answer is compared before anything is timed. `whole` is what a user waits for: a fit of three epochs, or the
scoring of a split, by an engine that has kept nothing yet. `first` is its first epoch, `later` each further
one, or the next method on the same pairs. The public way and `reference` keep nothing; they run a fixed
random choice of the pairs. `--load` times what stands before all of it: the self-test of a model at load.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from cases import SHAPES, Case, Plan, bundled_case, family_case, forced_shorter, shape_case, shape_target
from figures import draw_rates, pages, report
from flops import Work, work_of
from measuring import clocked, environment, matmul_rate, median, peak_memory, put_between_markers
from public_way import PublicWay, label_table, token_mean_loss
from sides import EngineSide, PublicSide, Side, make_side, start_of

from das.engine import ForcedPair, make_engine
from das.engine.selftest.selftest import proven
from das.featurizers import Subspace
from ravel.common.io import write_json

SIDES = ("public", "reference", "direct", "resume")
QUICK_SIDES = ("public", "reference", "resume")
WORK = ("training", "scoring")
LOADED = ("llama-tiny", "smollm2-135m", "gpt2")
"""Shapes whose self-test is timed."""
LOGITS_WITHIN = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""Largest difference of two engines' logits, relative to the largest logit."""
LOSS_WITHIN = {torch.float32: 1e-3, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""Largest difference of the public way's loss from ours on one batch, in nats."""
VERDICTS_AT_LEAST = 0.98
"""Share of equal verdicts below which nothing is timed: a near tie may fall either way, no more."""
MDAS_PASSES = 3 * (20_000 + 25_000)
"""Pairs of one MDAS run of the reference's size: three epochs over 20,000 cause and 25,000 isolate pairs."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asked for."""

    cases: tuple[str, ...]
    """Keys: `bundled`, a shape, or a family."""
    quick: bool
    """Fewer pairs and repeats."""
    device: str
    """Where models with random weights run."""
    dtype: str
    """The dtype of their weights."""
    pad_to: int
    """Padded length of the public way."""
    train_pairs: int | None
    """Cause pairs, if the plan's own are not wanted; then all six attributes take part."""
    instance: Path | None
    """A built instance for the bundled model."""


def plan_of(key: str, request: Request) -> Plan:
    """Return how much of a case is run: as much as takes a few minutes on two cores."""
    if key == "bundled" or torch.device(request.device).type == "cuda":
        quick, full = Plan(600, 120, 40, 64, 3), Plan(2000, 512, 100, 128, 5, attributes=None)
    else:
        quick, full = Plan(48, 24, 12, 8, 5), Plan(200, 64, 12, 32, 5)
    plan = quick if request.quick else full
    if request.train_pairs is None:
        return plan
    return replace(plan, train_pairs=request.train_pairs, keep_entities=400, attributes=None)


def case_of(key: str, request: Request) -> Case:
    """Load or make the model of a case and its instance."""
    plan = plan_of(key, request)
    if key == "bundled":
        return bundled_case(plan, folder=request.instance)
    make = shape_case if key in SHAPES else family_case
    return make(key, plan, device=request.device, dtype=request.dtype)


def agreement(case: Case) -> dict[str, float]:
    """Return how far the sides are apart; stop the program if that is too far."""
    dtype = case.target.dtype
    subspace = Subspace(start_of(case)).to(case.target.device)
    pairs = [pair.forced for pair in case.sampled(case.training)[:32]]
    logits = {name: _logits(case, name, pairs, subspace) for name in ("reference", "direct", "resume")}
    scale = float(logits["reference"].abs().max())
    apart = {
        f"logits_{name}": float((logits[name] - logits["reference"]).abs().max()) / scale
        for name in ("direct", "resume")
    }
    if max(apart.values()) > LOGITS_WITHIN[dtype]:
        raise SystemExit(f"{case.name}: the engines disagree: {apart}")
    way = PublicWay(case.target, case.site, size=case.plan.size)
    labels = label_table([pair.label_ids for pair in pairs], logits["resume"].shape[1])
    ours = float(token_mean_loss(logits["resume"], labels))
    with way.wrapped(start_of(case)) as model:
        apart["loss_public"] = abs(way.loss(model, pairs) - ours)
    if apart["loss_public"] > LOSS_WITHIN[dtype]:
        raise SystemExit(f"{case.name}: the public way's loss differs from {ours}: {apart}")
    apart["equal_verdicts"] = _equal_verdicts(case, way)
    if dtype == torch.float32 and apart["equal_verdicts"] < VERDICTS_AT_LEAST:
        raise SystemExit(f"{case.name}: too many verdicts differ: {apart}")
    return apart


def _logits(case: Case, engine: str, pairs: list[ForcedPair], subspace: Subspace) -> torch.Tensor:
    with torch.no_grad():
        return make_engine(engine, case.target).interchange_logits(pairs, case.site, subspace)


def _equal_verdicts(case: Case, way: PublicWay) -> float:
    """Judge with a fitted subspace, under which both answers occur, where the model knows anything."""
    fitted = case.key == "bundled"
    side = EngineSide(case, "resume")
    featurizer = side.fitted() if fitted else Subspace(start_of(case))
    assert isinstance(featurizer, Subspace)
    outcomes = EngineSide(case, "resume", sampled=True).outcomes_with(featurizer)
    ours = [(outcome.said_unchanged, outcome.said_swapped) for outcome in outcomes]
    with way.wrapped(featurizer.basis) as model:
        theirs = way.judge(model, case.sampled(case.asked))
    return sum(a == b for a, b in zip(ours, theirs, strict=True)) / len(ours)


AllRates = dict[str, dict[str, dict[str, list[float]]]]
"""Rates of every repeat by work, side and kind."""


def measure(case: Case, pad_to: int, threads: int, names: Sequence[str] = SIDES) -> dict[str, Any]:
    """Compare the sides, time them in turns and return all that is known of a case."""
    apart = agreement(case)
    sides = {name: make_side(name, case, pad_to=pad_to) for name in names}
    rates: AllRates = {work: {name: {} for name in sides} for work in WORK}
    matmul: list[float] = []
    for turn in range(case.plan.repeats):
        matmul.append(matmul_rate(case.target.device, case.target.dtype))
        for name, side in sides.items():
            _progress(f"{case.name}: turn {turn + 1} of {case.plan.repeats}, {name}")
            for work, found in _turn(side, threads).items():
                for kind, rate in found.items():
                    rates[work][name].setdefault(kind, []).append(rate)
    return {
        "case": case.key,
        "name": case.name,
        "site": str(case.site),
        "dtype": str(case.target.dtype).removeprefix("torch."),
        "plan": asdict(case.plan),
        "padded_to": pad_to,
        "apart": apart,
        "matmul_per_second": matmul,
        "pairs_per_second": rates,
        "medians": {w: {s: _medians(kinds) for s, kinds in rates[w].items()} for w in WORK},
        **_counts(case, rates, max(matmul)),
    }


def _turn(side: Side, threads: int) -> dict[str, dict[str, float]]:
    found = {}
    for work, run in (("training", side.fit), ("scoring", side.score)):
        torch.set_num_threads(threads)
        found[work] = run()
    return found


def _medians(kinds: dict[str, list[float]]) -> dict[str, float]:
    return {kind: median(values) for kind, values in kinds.items()}


def _counts(case: Case, rates: dict[str, Any], matmul: float) -> dict[str, Any]:
    """Return what had to be computed, and the share of the machine's rate at which `resume` did that."""
    training = [pair.forced for pair in case.training]
    scored = [forced_shorter(pair) for pair in case.asked]
    work = {
        "training": work_of(case.target, case.site, training),
        "scoring": work_of(case.target, case.site, scored),
    }
    pairs = {"training": training, "scoring": scored}
    return {
        "pairs": {name: _sizes(case, found) for name, found in pairs.items()},
        "operations": {name: asdict(found) for name, found in work.items()},
        "utilisation": {
            name: _utilisation(found, len(pairs[name]), name, rates[name]["resume"], matmul, case.plan.epochs)
            for name, found in work.items()
        },
    }


def _sizes(case: Case, pairs: list[ForcedPair]) -> dict[str, float]:
    encoder = make_engine("direct", case.target).encoder  # type: ignore[attr-defined]
    lengths = [len(encoder.encode([pair.base.text])[0].ids) for pair in pairs]
    starts = [encoder.position(pair.base, case.site.position) for pair in pairs]
    return {
        "pairs": len(pairs),
        "different_bases": len({pair.base.text for pair in pairs}),
        "different_rows": len({(pair.base.text, pair.label_ids) for pair in pairs}),
        "different_sources": len({pair.source.text for pair in pairs}),
        "mean_tokens": sum(lengths) / len(pairs),
        "longest_tokens": max(lengths),
        "mean_tokens_from_site": sum(n - s for n, s in zip(lengths, starts, strict=True)) / len(pairs),
        "mean_label_tokens": sum(len(pair.label_ids) for pair in pairs) / len(pairs),
    }


def _utilisation(
    work: Work, pairs: int, name: str, rates: dict[str, list[float]], matmul: float, epochs: int
) -> dict[str, float]:
    """`later`: nothing is left to fill. `whole`: the filling counts, in operations and in time."""
    passes, times = (epochs, 2) if name == "training" else (1, 1)
    later = times * work.least / pairs * median(rates["later"])
    whole = (work.fill + passes * times * work.least) / (passes * pairs) * median(rates["whole"])
    return {"later": later / matmul, "whole": whole / matmul}


def peaks(request: Request, key: str, instance: Path | None, threads: int) -> dict[str, Any]:
    """Return the peak memory of each side in bytes, each in a process of its own."""
    return {name: _peak_of(request, key, name, instance, threads) for name in SIDES}


def _peak_of(request: Request, key: str, side: str, instance: Path | None, threads: int) -> dict[str, int]:
    command = [sys.executable, __file__, "--child", side, "--shape", key, "--threads", str(threads)]
    command += ["--device", request.device, "--dtype", request.dtype, "--pad-to", str(request.pad_to)]
    command += ["--quick"] if request.quick else []
    command += [] if request.train_pairs is None else ["--train-pairs", str(request.train_pairs)]
    command += [] if instance is None else ["--instance", str(instance)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def child(request: Request, side: str, threads: int) -> None:
    """Fit and score once and print this process's memory: with the model alone, and at its peak."""
    case = case_of(request.cases[0], request)
    before = peak_memory()
    _turn(make_side(side, case, pad_to=request.pad_to), threads)
    found = {"with_model": before, "peak": peak_memory()}
    if case.target.device.type == "cuda":
        found["device_peak"] = torch.cuda.max_memory_allocated()
    print(json.dumps(found))


def kinder(case: Case, pad_to: int, threads: int) -> dict[str, Any]:
    """Return rates of two other readings of the public way: padded to the longest prompt of the batch's
    kind only, and with the output before the swap generated too."""
    found: dict[str, Any] = {}
    for name, side in (
        ("padded_to_longest", PublicSide(case, pad_to=1)),
        ("original_output_too", PublicSide(case, pad_to=pad_to, original=True)),
    ):
        turns = [_turn(side, threads) for _ in range(3)]
        found[name] = {work: median([turn[work]["whole"] for turn in turns]) for work in WORK}
    return found


def loads(threads: int) -> dict[str, Any]:
    """Time the self-test of models of several shapes."""
    torch.set_num_threads(threads)
    return {"quick": False, "environment": environment("cpu"), "load": [at_load(shape) for shape in LOADED]}


def at_load(shape: str) -> dict[str, Any]:
    """Time the self-test of a model, and count what it runs: passes and tokens through all of its blocks."""
    _progress(f"{shape}: the self-test")
    target = shape_target(shape)
    tokens: list[int] = []
    with ExitStack() as stack:
        for block in target.family.blocks(target.model):
            # The MLP, for blocks are passed by where only the vocabulary is asked.
            hook = target.family.mlp(block).register_forward_pre_hook(
                lambda module, inputs: tokens.append(inputs[0][..., 0].numel())
            )
            stack.callback(hook.remove)
        proven(target)
    return {
        "case": shape,
        "name": f"{shape} shape, {target.n_layers} x {target.d_model}",
        "weights": sum(weights.numel() for weights in target.model.parameters()),
        "seconds": median([clocked(lambda: proven(target), "cpu")[0] for _ in range(3)]),
        "passes": len(tokens) / target.n_layers,
        "tokens": sum(tokens) / target.n_layers,
    }


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer pairs and runs, about two minutes")
    parser.add_argument("--threads", type=int, help="threads of all sides (default: as `resume` chooses)")
    parser.add_argument("--shape", action="append", choices=["bundled", *SHAPES], help="only these models")
    parser.add_argument("--family", action="append", default=[], help="also a family, 8 x 512")
    parser.add_argument("--device", default="cpu", help="where random-weight models run")
    parser.add_argument("--dtype", default="float32", help="dtype of their weights")
    parser.add_argument("--pad-to", type=int, default=64, help="padded length of the public way")
    parser.add_argument("--train-pairs", type=int, help="cause pairs; 20000 is the reference's MDAS")
    parser.add_argument("--instance", type=Path, help="instance for the bundled model (default: built now)")
    parser.add_argument("--memory", action="store_true", help="also each side's peak memory")
    parser.add_argument("--load", action="store_true", help="only the self-test of a model at load")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--plot", type=Path, help="draw them to this path, as PNG and SVG")
    parser.add_argument("--doc", type=Path, help="write the tables between the markers of this page")
    parser.add_argument("--from-json", type=Path, help="measure nothing: tables and plot of an earlier run")
    parser.add_argument("--child", choices=SIDES, help=argparse.SUPPRESS)
    return parser.parse_args()


def _threads(wanted: int | None) -> int:
    """Set the threads of all sides: as wanted, or as they stand once `resume` has been made."""
    if wanted is None:
        make_engine("resume", shape_case("llama-tiny", Plan(8, 4, 30, 4, 1)).target)
        wanted = torch.get_num_threads()
    torch.set_num_threads(wanted)
    return wanted


def run(request: Request, threads: int, *, memory: bool) -> dict[str, Any]:
    """Measure every case."""
    results = []
    for key in request.cases:
        case = case_of(key, request)
        results.append(measure(case, request.pad_to, threads, QUICK_SIDES if request.quick else SIDES))
        if not request.quick:
            results[-1]["public_way_otherwise"] = kinder(case, request.pad_to, threads)
        if memory:
            with tempfile.TemporaryDirectory() as folder:
                case.instance.save(Path(folder) / "instance")
                kept = Path(folder) / "instance" if key == "bundled" else None
                del case
                results[-1]["memory"] = peaks(request, key, kept, threads)
    return {
        "schema_version": 2,
        "quick": request.quick,
        "mdas_passes": MDAS_PASSES,
        "environment": environment(request.device),
        "results": results,
    }


def main() -> None:
    """Measure, print and write."""
    arguments = _arguments()
    defaults = ["bundled", "gpt2"] if not arguments.family else []
    request = Request(
        cases=(*(arguments.shape or defaults), *arguments.family),
        quick=arguments.quick,
        device=arguments.device,
        dtype=arguments.dtype,
        pad_to=arguments.pad_to,
        train_pairs=arguments.train_pairs,
        instance=arguments.instance,
    )
    if arguments.child:
        child(request, arguments.child, _threads(arguments.threads))
        return
    if arguments.from_json is not None:
        found = json.loads(arguments.from_json.read_text(encoding="utf-8"))
    elif arguments.load:
        found = loads(_threads(arguments.threads))
    else:
        found = run(request, _threads(arguments.threads), memory=arguments.memory)
    print(report(found))
    if arguments.json is not None:
        write_json(arguments.json, found)
    if arguments.plot is not None and not arguments.load:
        draw_rates(found, arguments.plot)
    if arguments.doc is not None:
        put_between_markers(arguments.doc, pages(found))


if __name__ == "__main__":
    main()
