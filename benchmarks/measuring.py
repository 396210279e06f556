"""Clocks, the machine's own speed, the environment and where results go; it knows no engine and no pair."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import platform
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch

from das.training.workspace import SilentWorkspace
from ravel.common.io import read_text, write_text

__all__ = [
    "clocked",
    "environment",
    "markdown_table",
    "matmul_rate",
    "median",
    "peak_memory",
    "put_between_markers",
    "restart_peak",
]

T = TypeVar("T")
PACKAGES = ("torch", "transformers", "pyvene", "numpy")
MATMUL_SIZES = (512, 1024, 2048)


class KeepingWorkspace(SilentWorkspace):
    """Keeps what several fits share, as a run does."""

    def __init__(self) -> None:
        self._kept: dict[str, Any] = {}

    def shared(self, key: str, make: Any) -> Any:
        """Make it once."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]


def synchronised(device: torch.device | str) -> None:
    """Wait until the device has done all it was given."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def clocked(run: Callable[[], T], device: torch.device | str) -> tuple[float, T]:
    """Return the seconds of a run and its result."""
    synchronised(device)
    start = time.perf_counter()
    result = run()
    synchronised(device)
    return time.perf_counter() - start, result


def median(values: Sequence[float]) -> float:
    """Return the median, as a plain float."""
    return float(statistics.median(values))


def matmul_rate(device: torch.device | str, dtype: torch.dtype, *, tries: int = 3) -> float:
    """Return the best rate of large square matrix products, in operations per second."""
    sizes = (4096, 8192) if torch.device(device).type == "cuda" else MATMUL_SIZES
    best = 0.0
    for size in sizes:
        product = partial(torch.matmul, *torch.randn(2, size, size, device=device, dtype=dtype))
        fastest = min(clocked(product, device)[0] for _ in range(tries))
        best = max(best, 2 * size**3 / fastest)
    return best


def environment(device: str) -> dict[str, Any]:
    """Return what the figures depend on besides the code."""
    on_gpu = torch.device(device).type == "cuda"
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "packages": {name: version(name) for name in PACKAGES},
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text()) if cpuinfo.is_file() else None
    return found.group(1) if found else platform.processor() or platform.machine()


def peak_memory() -> int:
    """Return the most bytes this process has had in memory, since its start or since `restart_peak`."""
    # On Linux `ru_maxrss` of a child begins at what its parent had.
    if found := _status("VmHWM"):
        return found
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def restart_peak() -> int:
    """Forget the peak so far and return the bytes in memory now; 0 where the system can't tell."""
    gc.collect()
    # Freed memory goes back to the system, so that using it again is seen.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    return 0


def _status(field: str) -> int:
    status = Path("/proc/self/status")
    found = re.search(rf"{field}:\s+(\d+) kB", status.read_text()) if status.is_file() else None
    return int(found.group(1)) * 1024 if found else 0


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; every column but the first is aligned to the right."""
    lines = [list(header), ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def put_between_markers(page: Path, texts: Mapping[str, str]) -> None:
    """Replace what stands between `<!-- NAME -->` and `<!-- /NAME -->` in a page, for each name.

    Raises SystemExit for a page without one of the markers.
    """
    content = read_text(page)
    for name, text in texts.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        if begin not in content or end not in content:
            raise SystemExit(f"{page} has no lines {begin.strip()} and {end} to write between")
        before, rest = content.split(begin, 1)
        content = f"{before}{begin}\n{text}\n{end}{rest.split(end, 1)[1]}"
    write_text(page, content)
