"""Where fetched models lie on this machine; it knows nothing of how they come there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ravel.common.errors import StorageError
from ravel.common.sizes import written_bytes

CACHE_VARIABLE = "RAVEL_CACHE"
"""Environment variable that names the cache."""
_SPARE = 64 * 2**20
"""Bytes that stay free for small files."""


def cache_folder() -> Path:
    """Return the cache: what `RAVEL_CACHE` names, or `ravel-bench` in the user's folder of caches
    (`XDG_CACHE_HOME`, or else `~/.cache`). It need not be there."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache").absolute() / "ravel-bench"


def model_folder(name: str) -> Path:
    """Return where the cache keeps a fetched model."""
    return cache_folder() / "models" / name


def downloads_folder(name: str) -> Path:
    """Return where what is brought for a model lies until the model is made."""
    return cache_folder() / "downloads" / name


def need_room(folder: Path, size: int) -> None:
    """Raise SuiteError unless so many bytes fit on the disk on which `folder` will lie."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    if free < size + _SPARE:
        raise StorageError(
            expected=f"{written_bytes(size + _SPARE)} of free disk at {folder}",
            came=f"{written_bytes(free)}",
            todo=f"free space there, or name a cache on another disk with {CACHE_VARIABLE}",
        )
