"""Where the time of `ravel demo` goes, step by step, as a whole process.

    python benchmarks/demo.py [--quick] [--threads N] [--quiet] [--json PATH] [--before PATH] [--docs PAGE]

The demo runs in a folder for the time being. Printed is what each step takes, in seconds of processors and
with `--quiet`, where nothing else runs, of a clock too; beside what `--json` wrote `--before`, with whether
both scored the same to the byte. With `--docs` the table is written between the markers `demo` of that page.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from pkgutil import resolve_name
from typing import Any
from unittest.mock import patch

from ravel.common.io import write_json

STEPS: tuple[tuple[str, str, str], ...] = (
    ("opening the model", "evaluation.config.target", "TargetConfig.open"),
    ("building the instance", "evaluation.suite.demo", "build_in_run"),
    ("judging", "evaluation.judging.judge", "judge"),
    ("tables", "evaluation.report.publish", "publish_tables"),
    ("figures", "evaluation.report.publish", "publish_plots"),
    ("page", "evaluation.suite.finish", "write_report"),
    ("summing up, all", "evaluation.suite.run", "finish"),
)
"""What is clocked, in which module it stands and how it is called there."""
INSIDE = ("tables", "figures", "page")
"""Parts of the last step."""
SCORED = ("scores.jsonl", "averages.jsonl", "comparisons.jsonl")

Seconds = dict[str, tuple[float, float]]
"""By step: of processors, of a clock."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table, or write it into a page too."""
    asked = _arguments(argv)
    found = _measured(quick=asked.quick, threads=asked.threads)
    if asked.json is not None:
        write_json(asked.json, found)
    before = None if asked.before is None else json.loads(asked.before.read_text(encoding="utf-8"))
    text = table(found, before, quiet=asked.quiet)
    if asked.docs is not None:
        from measuring import put_between_markers

        put_between_markers(asked.docs, {"demo": text})
    print(text)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the demo of `ravel demo --quick`")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument(
        "--quiet", action="store_true", help="nothing else runs: seconds of a clock count too"
    )
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--before", type=Path, help="what `--json` wrote of earlier code, for columns")
    parser.add_argument("--docs", type=Path, help="a page to write the table into")
    return parser.parse_args(argv)


def _measured(*, quick: bool, threads: int) -> dict[str, Any]:
    began = time.perf_counter() - time.process_time()
    busy = time.process_time
    # Imported here, for that is part of what is measured.
    import torch

    from evaluation.suite.demo import run_demo

    torch.set_num_threads(threads)
    seconds: Seconds = {"imports": (busy(), time.perf_counter() - began)}
    with tempfile.TemporaryDirectory() as folder, _clocks(seconds):
        run_demo(Path(folder) / "demo", quick=quick)
        scored = hashlib.sha256(b"".join((Path(folder) / "demo" / name).read_bytes() for name in SCORED))
    whole = (busy(), time.perf_counter() - began)
    named = [both for step, both in seconds.items() if step not in INSIDE]
    fits = tuple(whole[i] - sum(both[i] for both in named) for i in (0, 1))
    from measuring import environment

    return {
        "processor": environment("cpu")["processor"],
        "threads": threads,
        "quick": quick,
        "scored": scored.hexdigest(),
        "seconds": {**seconds, "fits and all else": fits, "whole": whole},
    }


@contextmanager
def _clocks(seconds: Seconds) -> Iterator[None]:
    """Within, what each step takes is added up."""
    with ExitStack() as patched:
        for step, module, name in STEPS:
            seconds[step] = (0.0, 0.0)
            original = resolve_name(f"{module}:{name}")
            patched.enter_context(patch(f"{module}.{name}", _clocked(original, step, seconds)))
        yield


def _clocked(function: Callable[..., Any], step: str, seconds: Seconds) -> Callable[..., Any]:
    def clocked(*given: Any, **named: Any) -> Any:
        began = time.process_time(), time.perf_counter()
        try:
            return function(*given, **named)
        finally:
            before, ended = seconds[step], (time.process_time(), time.perf_counter())
            seconds[step] = (before[0] + ended[0] - began[0], before[1] + ended[1] - began[1])

    return clocked


def table(found: Mapping[str, Any], before: Mapping[str, Any] | None = None, *, quiet: bool = False) -> str:
    """Return the seconds as Markdown, beside earlier ones if there are any."""
    from measuring import markdown_table

    runs = [found] if before is None else [before, found]
    clocks = ["processor seconds", *(["seconds"] if quiet else [])]
    when = [""] if before is None else [" before", " now"]
    header = [f"{clock}{then}" for then in when for clock in clocks]
    rows = [
        [step, *(f"{run['seconds'][step][i]:.1f}" for run in runs for i in range(len(clocks)))]
        for step in found["seconds"]
    ]
    same = "" if before is None else _compared(found, before)
    kind = "ravel demo --quick" if found["quick"] else "ravel demo"
    return f"`{kind}`, {found['processor']}, threads: {found['threads']}.{same}\n\n" + markdown_table(
        ["step", *header], rows
    )


def _compared(found: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    same = found["scored"] == before["scored"]
    return f" Scores, averages and comparisons are {'the same to the byte' if same else 'other ones'}."


if __name__ == "__main__":
    main()
