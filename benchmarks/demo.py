"""Where the time of `ravel demo` goes, step by step in one process, and what the command takes.

    python benchmarks/demo.py [--quick] [--threads N] [--quiet] [--json PATH] [--before PATH] [--docs PAGE]
                              [--judge RUN [--cells N]]

The demo runs in a folder for the time being, in one process and then as the command does it, by several; with
`--judge` the cells of a finished one are judged again on test pairs, and nothing else is done. Printed is
what each step takes, in seconds of processors and with `--quiet`, where nothing else runs, of a clock too;
beside what `--json` wrote `--before`, with whether both scored the same to the byte. With `--docs` the table
is written between the markers `demo` of that page.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
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
BY_COMMAND = "whole, as `ravel demo` runs it"
COMMAND = "from evaluation.cli import main; main()"
SCORED = ("scores.jsonl", "averages.jsonl", "comparisons.jsonl")

Seconds = dict[str, tuple[float, float]]
"""By step: of processors, of a clock."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table, or write it into a page too."""
    asked = _arguments(argv)
    found = _measured(asked)
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
    parser.add_argument("--judge", type=Path, metavar="RUN", help="judge cells of a finished demo again")
    parser.add_argument("--cells", type=int, default=3, help="how many; default 3")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument(
        "--quiet", action="store_true", help="nothing else runs: seconds of a clock count too"
    )
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--before", type=Path, help="what `--json` wrote of earlier code, for columns")
    parser.add_argument("--docs", type=Path, help="a page to write the table into")
    return parser.parse_args(argv)


def _measured(asked: argparse.Namespace) -> dict[str, Any]:
    began = time.perf_counter() - time.process_time()
    busy = time.process_time
    # Imported here, for that is part of what is measured.
    import torch

    import evaluation.suite.demo  # noqa: F401

    torch.set_num_threads(asked.threads)
    seconds: Seconds = {"imports": (busy(), time.perf_counter() - began)}
    with _clocks(seconds):
        scored = _demo(quick=asked.quick) if asked.judge is None else _judged_again(asked.judge, asked.cells)
    whole = (busy(), time.perf_counter() - began)
    named = [both for step, both in seconds.items() if step not in INSIDE]
    fits = tuple(whole[i] - sum(both[i] for both in named) for i in (0, 1))
    from measuring import environment

    return {
        "processor": environment("cpu")["processor"],
        "threads": asked.threads,
        "what": _what(asked),
        "scored": hashlib.sha256(scored).hexdigest(),
        "seconds": {
            **{step: both for step, both in seconds.items() if both[0]},
            "fits and all else": fits,
            "whole": whole,
            **({} if asked.judge else {BY_COMMAND: _by_command(scored, quick=asked.quick)}),
        },
    }


def _what(asked: argparse.Namespace) -> str:
    if asked.judge is not None:
        return f"{asked.cells} cells of a demo judged again on test pairs"
    return f"`ravel demo{' --quick' if asked.quick else ''}`"


def _demo(*, quick: bool) -> bytes:
    """Run the demo in this process; return what it scored."""
    from evaluation.config.target import TargetConfig
    from evaluation.suite.demo import DEMO, QUICK, run_demo_on
    from ravel.facts.tables import read_bundled

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "demo"
        run_demo_on(out, QUICK if quick else DEMO, read_bundled("city"), TargetConfig().open())
        return _scored(out)


def _scored(run: Path) -> bytes:
    return b"".join((run / name).read_bytes() for name in SCORED)


def _by_command(scored: bytes, *, quick: bool) -> tuple[float, float]:
    """Return the seconds of processors and of a clock of the command. Raises SystemExit if it scores
    otherwise."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "demo"
        command = [sys.executable, "-c", COMMAND, "demo", "--quiet", "--out", str(out)]
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([*command, *(["--quick"] if quick else [])], check=True, stdout=subprocess.DEVNULL)
        after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - began
        if _scored(out) != scored:
            raise SystemExit("the command scored otherwise than one process")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, seconds


def _judged_again(run: Path, cells: int) -> bytes:
    """Judge the first cells of a finished demo on test pairs; return what was said."""
    from das.featurizers.storage import load_featurizer
    from das.sites import Site
    from evaluation.config.target import TargetConfig
    from evaluation.judging.judge import InterchangeJudge
    from ravel.instance import Instance

    instance, judge = Instance.load(run / "instance"), InterchangeJudge(TargetConfig().open())
    said = ""
    for folder in sorted((run / "cells").iterdir())[:cells]:
        site = Site.parse(json.loads((folder / "cell.json").read_text(encoding="utf-8"))["site"])
        for split in ("context_test", "entity_test"):
            said += repr(judge.judge(instance, split, site, load_featurizer(folder)[0]))
    return said.encode()


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
        if all(step in run["seconds"] for run in runs)
    ]
    same = "" if before is None else _compared(found, before)
    stated = f"{found['what']}, {found['processor']}, threads: {found['threads']}.{same}"
    return f"{stated}\n\n{markdown_table(['step', *header], rows)}"


def _compared(found: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    same = found["scored"] == before["scored"]
    return f" What was scored is {'the same to the byte' if same else 'another'}."


if __name__ == "__main__":
    main()
