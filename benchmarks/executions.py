"""How much faster a suite of the bundled model is in two processes than in one, as whole commands.

Run `python benchmarks/executions.py [--quick] [--runs N] [--workers N] [--busy N] [--json PATH]`. The
instance is built once. Then `ravel run` is timed from its start to its end, in turn with `--execution
serial`, with the same and one thread, and with `--execution processes`, each time in a new folder; the
scores, averages, comparisons, outcomes and featurizers of every run must be equal to the byte. Serial
uses every processor with torch's own threads, as it does by default; with one thread it is what one
worker of the pool does alone. `--busy` starts processes that keep a processor each at work meanwhile, as
other users of a machine do: serial as it is by default should then lose little beside one thread.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measuring import environment, markdown_table, median

from evaluation.config.suite import SuiteConfig
from evaluation.config.target import TargetConfig
from evaluation.suite.folders import build_folder
from ravel.building import BuildConfig
from ravel.common.io import write_json, write_text

COMMAND = "from evaluation.cli import main; main()"
EQUAL = ("scores.jsonl", "averages.jsonl", "comparisons.jsonl", "cells/*/outcomes/*", "cells/*/*.safetensors")
WAYS = {
    "serial": ("--execution", "serial"),
    "serial, one thread": ("--execution", "serial", "--threads", "1"),
    "processes": ("--execution", "processes"),
}
"""Flags of each way."""


def suite_on(instance: Path, *, quick: bool) -> SuiteConfig:
    """Return the suite: two methods that train, at two sites, every attribute of the instance."""
    settings = {"epochs": 1} if quick else {}
    return SuiteConfig.from_mapping(
        {
            "instance": str(instance),
            "methods": [{"name": name, "config": settings} for name in ("mdas", "das")],
            "sites": ["block_output.1@entity_last", "block_output.2@entity_last"],
            "sizes": [8] if quick else [8, 32],
            "seeds": [0],
            "generalisations": ["context", "entity"],
        },
        origin="the benchmark",
    )


def built(folder: Path, *, quick: bool) -> Path:
    """Build the instance and return its folder."""
    config = BuildConfig(
        attributes=("Country", "Language") if quick else ("Country", "Continent", "Language", "Timezone"),
        max_entities=120 if quick else 400,
        shortlist=60 if quick else 160,
        max_new_tokens=6,
        train_pairs=120 if quick else 1000,
        evaluation_pairs=32 if quick else 160,
    )
    build_folder("bundled", "city", TargetConfig(), config, folder / "instance")
    return folder / "instance"


def timed(suite: Path, out: Path, way: str, workers: int) -> float:
    """Return the seconds of one command."""
    flags = [*WAYS[way], *(["--workers", str(workers)] if way == "processes" else [])]
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", COMMAND, "run", str(suite), "--out", str(out), "--json", *flags],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - began


@contextmanager
def others_at_work(count: int) -> Iterator[None]:
    """Within, so many processes compute without end."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def results(run: Path) -> dict[str, bytes]:
    """Return the files of a run that must not depend on how it was carried out, by name."""
    files = [path for pattern in EQUAL for path in run.glob(pattern)]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def measure(*, quick: bool, runs: int, workers: int, busy: int = 0) -> dict[str, Any]:
    """Return the seconds of every run and the median ratio. Raises SystemExit if two runs differ."""
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        suite = folder / "suite.yaml"
        write_text(suite, suite_on(built(folder, quick=quick), quick=quick).to_yaml())
        expected: dict[str, bytes] | None = None
        for turn in range(runs):
            for way in WAYS:
                out = folder / f"{way}-{turn}"
                with others_at_work(busy):
                    seconds[way].append(timed(suite, out, way, workers))
                found = results(out)
                if expected is not None and found != expected:
                    raise SystemExit(f"run {turn} with {way} gave other bytes")
                expected = found
        cells = len(list((folder / "serial-0" / "cells").iterdir()))
    ratios, of_one_thread = (
        [serial / pool for serial, pool in zip(seconds[way], seconds["processes"], strict=True)]
        for way in ("serial", "serial, one thread")
    )
    return {
        "environment": environment("cpu"),
        "cells": cells,
        "workers": workers,
        "busy": busy,
        "seconds": seconds,
        "ratio": median(ratios),
        "ratios": ratios,
        "ratio_of_one_thread": median(of_one_thread),
        # At best the workers share out evenly what one thread takes.
        "most": workers * median(seconds["serial"]) / median(seconds["serial, one thread"]),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a suite of seconds: to see that it runs")
    parser.add_argument("--runs", type=int, default=3, help="runs of each way (default 3)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--busy", type=int, default=0, help="other processes at work (default 0)")
    parser.add_argument("--json", type=Path, help="write the figures there")
    asked = parser.parse_args(argv)
    found = measure(quick=asked.quick, runs=asked.runs, workers=asked.workers, busy=asked.busy)
    rows = [
        [way, f"{median(found['seconds'][way]):.1f}", ", ".join(f"{s:.1f}" for s in found["seconds"][way])]
        for way in WAYS
    ]
    print(markdown_table(("way", "median seconds", "each run"), rows))
    ratios = f"{found['ratio']:.2f}, and {found['ratio_of_one_thread']:.2f} where serial has one thread"
    print(f"{found['cells']} cells; serial / processes with {found['workers']} workers: {ratios}")
    slowed = median(found["seconds"]["serial"]) / median(found["seconds"]["serial, one thread"])
    print(f"serial takes {slowed:.2f} times as long as with one thread, {asked.busy} other processes at work")
    print(f"the most that workers of one thread each could gain over serial: {found['most']:.2f}")
    if asked.json is not None:
        write_json(asked.json, found)


if __name__ == "__main__":
    main()
