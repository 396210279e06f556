"""How much memory is free, and how much of it states may take; it runs no model and knows no prompts."""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch

from das.models.placing import AUTO
from ravel.common.sizes import parse_bytes, written_bytes

CACHE_SHARE = 0.25
"""Share of free memory that kept states may take where nothing else is said."""

_UNKNOWN_MEMORY = 4 * 2**30
"""Bytes taken for free where the system does not tell."""


def free_bytes(device: torch.device | str = "cpu", *, root: Path = Path("/")) -> int:
    """Return the bytes that this process can still take on a device.

    On CUDA what the driver calls free, with what torch holds and does not use. Elsewhere main memory: what
    Linux calls available, or less if a control group's limit leaves less; half of what is built in where the
    system tells that only, and 4 GiB where it tells nothing. `auto` stands for the first GPU, or main memory
    if there is none. `root` is where `proc` and `sys` are.
    """
    if device == AUTO:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    place = torch.device(device)
    if place.type == "cuda":
        free, _ = torch.cuda.mem_get_info(place)
        return int(free) + torch.cuda.memory_reserved(place) - torch.cuda.memory_allocated(place)
    available = _available(root)
    if available is None:
        return _half_of_all()
    return max(0, min([available, *_group_rooms(root)]))


def default_cache_bytes(device: torch.device | str = "cpu") -> int:
    """Return the bytes that states may take by default: `CACHE_SHARE` of what is free on the device."""
    return int(CACHE_SHARE * free_bytes(device))


def cache_bytes(asked: str | None, device: torch.device | str = "cpu") -> int:
    """Return the bytes that states may take: what was asked for, or else the default of the device."""
    return default_cache_bytes(device) if asked is None else parse_bytes(asked)


def _available(root: Path) -> int | None:
    try:
        text = (root / "proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    match = re.search(r"^MemAvailable:\s*(\d+) kB", text, re.MULTILINE)
    return None if match is None else int(match[1]) * 1024


def _half_of_all() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return _UNKNOWN_MEMORY


def _group_rooms(root: Path) -> list[int]:
    """Return what each limited control group above this process still has, versions 1 and 2."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    rooms: list[int] = []
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        mounted = root / "sys/fs/cgroup"
        if not controllers:
            rooms += _rooms_above(mounted, path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            rooms += _rooms_above(mounted / "memory", path, *names)
    return rooms


def _rooms_above(mounted: Path, path: str, limit: str, usage: str, inactive: str) -> list[int]:
    # Inside a container the path may be that of the host; its mount then shows the own group at the top.
    folder, rooms = mounted / path.strip("/"), []
    while folder == mounted or mounted in folder.parents:
        try:
            most, used = int((folder / limit).read_text()), int((folder / usage).read_text())
            # Pages of files that nobody uses are given back before anything fails.
            stat = re.search(rf"^{inactive} (\d+)$", (folder / "memory.stat").read_text(), re.MULTILINE)
            rooms.append(most - used + (int(stat[1]) if stat else 0))
        except (OSError, ValueError):
            pass
        folder = folder.parent
    return rooms


# --- what is needed


def more_room(free: int) -> str:
    """Return what to do where not even one row fits while `free` bytes are left."""
    return (
        f"free some memory ({written_bytes(free)} are left), lower --cache-memory, load the model with "
        "--dtype bfloat16 or over several devices (--device auto), or shorten the prompts; a lower "
        "--batch-tokens is of no use, for one row alone does not fit"
    )
