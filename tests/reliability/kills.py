"""Kills `ravel run` again and again until it ends, and compares what is left with an undisturbed run.

Processes are killed with all their children, without warning, at seeded times: spread over the run, and just
after certain files appear. It knows the files of a run and the command line, and no code of the suite.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["COMPARED", "KillCounts", "kill_everywhere"]

COMPARED = (
    *("config.yaml", "instance/**/*", "*.jsonl", "tables/*", "plots/*", "report.html"),
    *("cells/*/cell.json", "cells/*/featurizer.*", "cells/*/train_log.jsonl", "cells/*/outcomes/*"),
    *("controls/**/*.json", "controls/**/*.jsonl", "controls/**/featurizer.*"),
)
"""What has to be equal to the byte. Not `environment.json`, which lists every environment that worked on the
folder, and not `shared/`, which is made again at need."""
MOMENTS = (
    *("instance.partial/*", "instance", "config.yaml"),
    *("cells/*/train_log.jsonl", "cells/*/checkpoint/checkpoint.json"),
    *("cells/*/featurizer.json", "cells/*/outcomes/*_val.jsonl", "cells/*/cell.json"),
    *("cells/*/outcomes/*_test.jsonl", "averages.jsonl", "scores.jsonl", "balanced.jsonl"),
    *("tables/main.md", "tables/*.html", "plots/*.svg", "report.html"),
)
"""Files after whose appearance, or change, a run is killed."""
_MOST_DELAY = 0.06
_POLL = 0.002
_LONGEST = 1800.0
"""Seconds after which a run that does not end is given up."""
_CODE = "import sys; from evaluation.cli import main; main(sys.argv[1:])"


@dataclass
class KillCounts:
    """What came of many kills; a sound suite has no failures, and no cell lost or doubled."""

    kills: int = 0
    """Processes that were killed while they ran."""
    runs: int = 0
    """Runs that ended after their kills, each compared with the undisturbed one."""
    equal_runs: int = 0
    """Those of them that hold the same bytes."""
    cells: int = 0
    """Cells of one run."""
    cells_lost: int = 0
    """Cells that were finished and gone after a kill or a new start."""
    cells_doubled: int = 0
    """Cells that were finished and written again after a new start."""
    files_compared: int = 0
    """Files of one run that have to be equal to the byte."""
    seconds_undisturbed: float = 0.0
    """Time of the undisturbed run, start of Python included."""
    by_phase: Counter[str] = field(default_factory=Counter)
    """Kills by what the run was at."""
    failures: list[str] = field(default_factory=list)
    """What went wrong, in words."""

    def to_json(self) -> dict[str, Any]:
        """Return the counts as plain values."""
        return {**asdict(self), "by_phase": dict(sorted(self.by_phase.items()))}


@dataclass(frozen=True)
class Kill:
    """When to kill."""

    seconds: float
    """After the start or, with a moment, after that."""
    moment: str | None = None
    """Pattern of files, one of which has to appear or change first."""


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    killed: bool
    """Whether it was killed before it ended by itself."""
    code: int
    """Its exit status."""
    seconds: float
    """How long it ran."""


def kill_everywhere(
    suite: Path,
    place: Path,
    *,
    kills: int,
    seed: int = 0,
    arguments: Sequence[str] = (),
    kills_per_run: int = 8,
) -> KillCounts:
    """Do the suite once undisturbed and then from its beginning with kills, until there were so many.

    `arguments` are further ones of `ravel run`. After `kills_per_run` kills a run is let end. All files go to
    `place`.
    """
    counts = KillCounts()
    whole = place / "whole" / "run"
    undisturbed = _attempt(suite, whole, arguments, None)
    counts.seconds_undisturbed = undisturbed.seconds
    if undisturbed.code != 0:
        counts.failures.append(f"the undisturbed run: {_said(whole)}")
        return counts
    expected = _compared(whole)
    counts.files_compared, counts.cells = len(expected), len(list(whole.glob("cells/*/cell.json")))
    rng = random.Random(seed)
    while counts.kills < kills and not counts.failures:
        run = place / f"killed-{counts.runs}" / "run"
        most = min(kills_per_run, kills - counts.kills)
        _kill_and_go_on(suite, run, arguments, _plan(rng, most, undisturbed.seconds), counts)
        counts.runs += 1
        found = _compared(run)
        differing = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
        if differing:
            counts.failures.append(f"run {counts.runs}: {', '.join(differing[:6])} differ")
        elif not counts.failures:
            counts.equal_runs += 1
            shutil.rmtree(run.parent)
    return counts


def _plan(rng: random.Random, kills: int, seconds: float) -> list[Kill]:
    """Return as many kills, half of them by time, half of them by what happens, in a random order."""
    found = []
    for number in range(kills):
        if number % 2:
            found.append(Kill(rng.uniform(0, _MOST_DELAY), rng.choice(MOMENTS)))
        else:
            # The start of Python is a third of a small run, and a kill there changes nothing.
            found.append(Kill(rng.uniform(0.25, 1.0) * seconds))
    rng.shuffle(found)
    return found


def _kill_and_go_on(
    suite: Path, run: Path, arguments: Sequence[str], plan: Sequence[Kill], counts: KillCounts
) -> None:
    finished: dict[Path, tuple[int, int]] = {}
    for kill in (*plan, None):
        ended = _attempt(suite, run, arguments, kill)
        _check_cells(run, finished, counts)
        if ended.killed:
            counts.kills += 1
            counts.by_phase[_phase(run)] += 1
        elif ended.code != 0:
            counts.failures.append(f"the run did not go on (exit {ended.code}): {_said(run)}")
            return
    # A run that was faster than its kill is finished, and the kills that follow hit its publication.
    left = [str(path.relative_to(run)) for path in run.rglob("*.part")]
    if left:
        counts.failures.append(f"left behind: {', '.join(left[:6])}")


def _check_cells(run: Path, finished: dict[Path, tuple[int, int]], counts: KillCounts) -> None:
    """Compare headers with those that were there before, and note the new ones."""
    now = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in run.glob("cells/*/cell.json")}
    counts.cells_lost += len(finished.keys() - now.keys())
    counts.cells_doubled += sum(now[path] != finished[path] for path in finished.keys() & now.keys())
    finished.update(now)


def _attempt(suite: Path, run: Path, arguments: Sequence[str], kill: Kill | None) -> Ended:
    """Start the run or go on with it, until it ends or is killed."""
    run.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", _CODE, "run", str(suite), "--out", str(run), *arguments]
    began = time.monotonic()
    with _log(run).open("wb") as log:
        # A group of its own, so that a kill reaches its workers and nothing else.
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        killed = _wait(process, run, kill, began)
    finally:
        for pid in _family(process.pid) if process.poll() is None else ():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return Ended(killed, process.returncode, time.monotonic() - began)


def _wait(process: subprocess.Popen[bytes], run: Path, kill: Kill | None, began: float) -> bool:
    """Return True when it is time to kill, False when the process has ended."""
    if kill is not None and kill.moment is not None:
        before = _state(run, kill.moment)
        while process.poll() is None and _state(run, kill.moment) <= before:
            time.sleep(_POLL)
        began = time.monotonic()
    left = _LONGEST if kill is None else kill.seconds
    try:
        process.wait(max(0.0, began + left - time.monotonic()))
    except subprocess.TimeoutExpired:
        return True
    return False


def _state(run: Path, pattern: str) -> set[tuple[str, int]]:
    found = set()
    for path in run.glob(pattern):
        with suppress(FileNotFoundError):
            found.add((str(path), path.stat().st_mtime_ns))
    return found


def _family(pid: int) -> Iterator[int]:
    """Yield a process and all that came from it, workers in other groups included."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, IndexError):
            parent = int(stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        yield one
        waiting += children.get(one, [])


def _phase(run: Path) -> str:
    """Return what a run was at, as its files tell."""
    if not (run / "environment.json").is_file():
        return "start"
    if (run / "scores.jsonl").is_file():
        return "publication" if not (run / "report.html").is_file() else "publication again"
    if (run / "averages.jsonl").is_file():
        return "records"
    if any(run.glob("cells/*/outcomes/*_test.jsonl")):
        return "test splits"
    return "fits" if (run / "cells").is_dir() else "preparation"


def _compared(run: Path) -> dict[str, bytes]:
    paths = {path for pattern in COMPARED for path in run.glob(pattern) if path.is_file()}
    return {str(path.relative_to(run)): path.read_bytes() for path in sorted(paths)}


def _log(run: Path) -> Path:
    return run.with_name("output.txt")


def _said(run: Path) -> str:
    return " ".join(_log(run).read_text(encoding="utf-8", errors="replace").split())[-600:]
