"""What writes that outlast a power cut cost, as a share of a suite's time.

    python benchmarks/durability.py [--quick] [--runs N] [--threads N] [--json PATH]

One suite on the bundled model is run in new folders, in turns with every write brought to the disk and with
the same writes left to the system; both sides run in one process. A figure is the median of the turns. The
time that the steps of writing take by themselves is clocked too: it is less noisy than a difference of two
runs.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from measuring import clocked, environment, markdown_table, median

from das.engine import DirectEngine, EngineAnswerer, make_engine
from das.models.base import TargetModel
from das.models.load import load_target
from evaluation.config.suite import SuiteConfig
from evaluation.suite.run import RunRequest, run_suite
from ravel.building import build_instance
from ravel.building.config import BuildConfig
from ravel.common import durable
from ravel.common.durable import Disk
from ravel.common.io import write_json
from ravel.facts.tables import read_bundled
from ravel.instance import Instance

__all__ = ["HastyDisk", "TimedDisk", "measure"]

T = TypeVar("T")
SIDES = ("durable", "plain")
TARGET = 0.02
"""Share of a suite's time that durable writes may take."""


class HastyDisk(Disk):
    """Does all but wait for the disk."""

    def sync(self, path: Path) -> None:
        """Do nothing."""

    def sync_folder(self, folder: Path) -> None:
        """Do nothing."""


class TimedDisk(Disk):
    """Waits for the disk and clocks that."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """Time spent in waiting."""
        self.waits = 0
        """How often."""

    def sync(self, path: Path) -> None:
        """Clock it."""
        self._clocked(lambda: Disk.sync(self, path))

    def sync_folder(self, folder: Path) -> None:
        """Clock it."""
        self._clocked(lambda: Disk.sync_folder(self, folder))

    def _clocked(self, wait: Callable[[], None]) -> None:
        began = time.perf_counter()
        wait()
        self.seconds += time.perf_counter() - began
        self.waits += 1


@dataclass(frozen=True, slots=True)
class Work:
    """What is run."""

    config: SuiteConfig
    """The suite."""
    instance: Instance
    """Its instance."""
    target: TargetModel
    """Its model."""

    def run(self, disk: Disk) -> float:
        """Run the suite in a new folder, with an engine that has kept nothing, and return the seconds."""
        engine = make_engine("resume", self.target, batch_tokens=self.config.batch_tokens)
        with tempfile.TemporaryDirectory() as folder, using(disk):
            seconds, _ = clocked(
                lambda: run_suite(
                    RunRequest(self.config, Path(folder) / "run", engine=engine, instance=self.instance)
                ),
                "cpu",
            )
        return seconds


@contextmanager
def using(disk: Disk) -> Iterator[None]:
    """Let all writes of this process use a disk."""
    before = durable.DISK
    durable.DISK = disk
    try:
        yield
    finally:
        durable.DISK = before


def small_work(*, quick: bool) -> Work:
    """Return das and mdas on two attributes at two sites of the bundled model, with the floors."""
    target = load_target("bundled")
    build = BuildConfig(
        attributes=("Country", "Continent"),
        max_entities=60 if quick else 120,
        max_new_tokens=4,
        train_pairs=60 if quick else 400,
        evaluation_pairs=30 if quick else 100,
    )
    instance = build_instance(read_bundled("city"), EngineAnswerer(DirectEngine(target)), build)
    training = {"epochs": 1 if quick else 3}
    fields = {
        "instance": "in memory",
        "methods": [{"name": name, "config": training} for name in ("das", "mdas")],
        "sites": ["block_output.1@entity_last", "block_output.2@entity_last"],
        "sizes": [8],
        "seeds": [0],
        "generalisations": ["context"],
        "resamples": 100,
    }
    return Work(SuiteConfig.from_mapping(fields, origin="the benchmark"), instance, target)


def measure(work: Work, runs: int) -> dict[str, Any]:
    """Run both sides in turns, after one turn that warms up, and return times, waits and shares."""
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    waited: list[float] = []
    waits = 0
    work.run(HastyDisk())
    for turn in range(runs):
        for side in SIDES if turn % 2 == 0 else reversed(SIDES):
            disk = TimedDisk() if side == "durable" else HastyDisk()
            seconds[side].append(work.run(disk))
            if isinstance(disk, TimedDisk):
                waited.append(disk.seconds)
                waits = disk.waits
    medians = {side: median(found) for side, found in seconds.items()}
    return {
        "seconds": seconds,
        "medians": medians,
        "waits": waits,
        "waited_seconds": waited,
        "share_by_difference": medians["durable"] / medians["plain"] - 1,
        "share_by_clock": median([w / s for w, s in zip(waited, seconds["durable"], strict=True)]),
    }


def table(found: dict[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    rows = [
        ["median seconds, durable", f"{found['medians']['durable']:.2f}"],
        ["median seconds, plain", f"{found['medians']['plain']:.2f}"],
        ["waits for the disk", f"{found['waits']}"],
        ["share, by difference of medians", f"{100 * found['share_by_difference']:.1f} %"],
        ["share, by clock", f"{100 * found['share_by_clock']:.1f} %"],
    ]
    return markdown_table(["durable writes", "value"], rows)


def main() -> None:
    """Measure, print the shares, and say whether they are within the target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smaller suite, in which files weigh more")
    parser.add_argument("--runs", type=int, default=5, help="turns of each side")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    parser.add_argument("--json", type=Path, default=None, help="write the numbers to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = measure(small_work(quick=arguments.quick), arguments.runs)
    print(table(found))
    within = found["share_by_clock"] < TARGET
    print(f"{'within' if within else 'above'} the target of {100 * TARGET:.0f} % by clock")
    if arguments.json is not None:
        write_json(arguments.json, {"environment": environment("cpu"), **found})


if __name__ == "__main__":
    main()
