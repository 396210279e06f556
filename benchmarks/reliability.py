"""What runs and readers survive, counted: faults, kills, tampered submissions, damaged files; and the cost.

Run `python benchmarks/reliability.py PART [PART ...] [--json PATH] [--docs PAGE] [--quick]`. Parts:

  faults      write steps all over a tiny run: crash before, during, after; power cuts; disks that refuse
  kills       SIGKILL at seeded times of a run of the bundled model, serially and in a pool
  mutations   tampered submissions, none of which may be accepted
  fuzz        damaged files for every reader
  durability  what durable writes cost, as a share of a suite's time
  executions  how much faster a pool of two processes is
  page        nothing new: only write the page from the figures that are there

The figures of a part replace those of an earlier run in the JSON file; with `--docs` the tables are written
between the markers of that page. `--quick` takes a few of everything.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import durability
import executions
import pytest
from measuring import environment, markdown_table, put_between_markers

from evaluation.exchange.submission import SubmissionInfo, pack_run
from ravel.common.io import read_json, write_json
from ravel.instance import Instance

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
FIGURES = ROOT / "docs" / "figures" / "reliability.json"
SUITE = ROOT / "examples" / "small-suite.yaml"
SEED = 0
SAMPLE = 200
"""Crashes, and refusals, of thousands that a tiny run has room for: one from each of equal parts of it."""


def faults(*, quick: bool) -> dict[str, Any]:
    """Crash at steps of a tiny run's writes, and refuse some."""
    from faults import crash_everywhere, refuse_everywhere
    from tiny_run import TinyRun

    sample = 10 if quick else SAMPLE
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        place, run = Path(name), TinyRun()
        # Figures are drawn once and written again each time: drawing them would be most of the work.
        run.draw_once(patch, place / "first")
        crashes = crash_everywhere(run, place / "crashes", sample=sample, seed=SEED)
        refusals = refuse_everywhere(run, place / "refusals", sample=sample, seed=SEED)
    return {"crashes": crashes.to_json(), "refusals": refusals.to_json()}


def kills(*, quick: bool) -> dict[str, Any]:
    """Kill `ravel run examples/small-suite.yaml` with all its processes, carried out in either way."""
    from kills import kill_everywhere

    found = {}
    for way, count in (("serial", 2 if quick else 40), ("processes", 2 if quick else 12)):
        with tempfile.TemporaryDirectory() as name:
            flags = ["--execution", way, *(["--workers", "2"] if way == "processes" else [])]
            counts = kill_everywhere(SUITE, Path(name), kills=count, seed=SEED, arguments=flags)
            found[way] = counts.to_json()
    return found


def mutations(*, quick: bool) -> dict[str, Any]:
    """Tamper with a submission of a small run in every way there is."""
    from cli_world import FAST, make_world, ravel, suite_text
    from submission_mutations import counts_of_mutations

    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        world = make_world(place / "world")
        methods = [{"name": "das", "config": FAST}, "pca"]
        suite = place / "suite.yaml"
        text = suite_text(world, methods=methods, generalisations=["context"], floors=False)
        suite.write_text(text, encoding="utf-8")
        done = ravel("run", suite, "--out", place / "run")
        if done.exit_code != 0:
            raise SystemExit(done.output)
        pack_run(place / "run", place / "submission", SubmissionInfo("Ours", ("A. B.",)))
        instance = Instance.load(world.instance)
        found = counts_of_mutations(place / "submission", instance, place / "tampered")
    return {family: asdict(count) for family, count in found.items()}


def fuzz(*, quick: bool) -> list[dict[str, Any]]:
    """Read damaged files of every kind."""
    from fuzzing import fuzz_all

    return [asdict(row) for row in fuzz_all(200 if quick else 10_500, SEED)]


def durable_writes(*, quick: bool) -> dict[str, Any]:
    """Measure what durable writes cost."""
    return durability.measure(durability.small_work(quick=quick), 1 if quick else 5)


def pool(*, quick: bool) -> dict[str, Any]:
    """Measure a pool of two processes."""
    return executions.measure(quick=quick, runs=1 if quick else 3, workers=2)


PARTS: Mapping[str, Callable[..., Any]] = {
    "faults": faults,
    "kills": kills,
    "mutations": mutations,
    "fuzz": fuzz,
    "durability": durable_writes,
    "executions": pool,
}


def survived_table(found: Mapping[str, Any]) -> str:
    """Return the table of faults: injected, survived, cells lost and doubled."""
    rows = []
    for name, words in (("crashes", "crash or power cut at a write step"), ("refusals", "disk that refuses")):
        counts = found.get("faults", {}).get(name)
        if counts:
            rows.append(_survived(words, counts["injected"], counts["survived"], counts))
    for way, counts in found.get("kills", {}).items():
        # A killed run was survived if what it ended in is equal to the byte.
        well = counts["kills"] if counts["equal_runs"] == counts["runs"] else 0
        rows.append(_survived(f"SIGKILL of `ravel run`, {way}", counts["kills"], well, counts))
    return markdown_table(["fault", "injected", "survived", "cells lost", "cells doubled"], rows)


def _survived(words: str, injected: int, well: int, counts: Mapping[str, Any]) -> list[str]:
    return [words, f"{injected:,}", f"{well:,}", str(counts["cells_lost"]), str(counts["cells_doubled"])]


def refused_table(found: Mapping[str, Any]) -> str:
    """Return the table of tampered submissions, by family."""
    families = dict(sorted(found.get("mutations", {}).items()))
    keys = ("tried", "refused", "accepted", "crashed")
    rows = [[family, *(str(count[key]) for key in keys)] for family, count in families.items()]
    total = ["**all**", *(str(sum(count[key] for count in families.values())) for key in keys)]
    return markdown_table(["family", *keys], [*rows, total])


def fuzzed_table(found: Mapping[str, Any]) -> str:
    """Return the table of damaged files, by reader."""
    keys = ("inputs", "loaded", "refused", "escaped")
    rows = [[row["reader"], *(f"{row[key]:,}" for key in keys)] for row in found.get("fuzz", [])]
    sums = [f"{sum(row[key] for row in found.get('fuzz', [])):,}" for key in keys]
    return markdown_table(["reader", *keys], [*rows, ["**all**", *sums]])


def cost_table(found: Mapping[str, Any]) -> str:
    """Return the table of what all this costs, and what a pool brings."""
    rows = []
    if "durability" in found:
        share, seconds = found["durability"]["share_by_clock"], found["durability"]["medians"]["durable"]
        words = f"waiting for the disk, share of a suite of {seconds:.0f} s (target: under 2 %)"
        rows.append([words, f"{100 * share:.2f} %"])
    if "executions" in found:
        parts = found["executions"]
        times = f"{len(parts['seconds']['serial'])} of each"
        pool = f"`processes` with {parts['workers']} workers, {parts['cells']} cells, {times}"
        words = f"`serial` with a thread per core over {pool} (target: at least 1.6)"
        rows.append([words, f"{parts['ratio']:.2f}"])
        words = "the most that a pool of workers with one thread each could gain over `serial` by these times"
        rows.append([words, f"{parts['most']:.2f}"])
        rows.append([f"`serial` with one thread over {pool}", f"{parts['ratio_of_one_thread']:.2f}"])
    return markdown_table(["cost and gain, medians", "value"], rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Do the parts, keep their figures, and print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=[*PARTS, "page"], help="what to do")
    parser.add_argument("--json", type=Path, default=FIGURES, help="the file of figures")
    parser.add_argument("--docs", type=Path, help="a page to write the tables into")
    parser.add_argument("--quick", action="store_true", help="a few of everything: to see that it runs")
    asked = parser.parse_args(argv)
    for folder in ("", "reliability", "evaluation", "fuzz"):
        sys.path.insert(0, str(TESTS / folder))
    figures: dict[str, Any] = read_json(asked.json) if asked.json.is_file() else {}
    for part in asked.parts:
        if part in PARTS:
            began = time.monotonic()
            figures[part] = PARTS[part](quick=asked.quick)
            figures.setdefault("made", {})[part] = {
                "minutes": round((time.monotonic() - began) / 60, 1),
                "environment": environment("cpu"),
            }
            write_json(asked.json, figures)
    tables = {
        "survived": survived_table(figures),
        "refused": refused_table(figures),
        "fuzzed": fuzzed_table(figures),
        "cost": cost_table(figures),
    }
    if asked.docs is not None:
        put_between_markers(asked.docs, tables)
    print("\n".join(tables.values()))


if __name__ == "__main__":
    main()
