"""What was once worked out about a model's folder, kept in it as JSON; it does not know what the values mean.

The values lie in one hidden file beside the weights. A key must say all that a value depends on, for nothing
is ever removed because the folder changed. Keeping is a courtesy: where the folder can't be written to, or is
so small that working the value out again costs nothing, nothing is kept and nothing is said.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ravel.common.errors import SuiteError
from ravel.common.io import canonical_json, read_json, sha256_text, write_json

_FILE = ".ravel-kept.json"
_SMALLEST = 64 * 2**20
"""Bytes of a folder from which on keeping pays; the bundled model is smaller, so its folder stays clean."""
_VALUES = 64
"""Values kept at most; the oldest go first."""


def files_of(folder: Path) -> list[list[Any]]:
    """Return name, size and time of change in nanoseconds of each file of a folder, links followed; hidden
    files are left out, and so are folders in it. A part of a key: other files, other key."""
    found = []
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(".") and path.is_file():
            stat = path.stat()
            found.append([path.name, stat.st_size, stat.st_mtime_ns])
    return found


def read(folder: Path, key: Any) -> Any | None:
    """Return the value kept in `folder` under `key` (any JSON value), or None if there is none."""
    found: Any | None = _values(folder).get(_short(key))
    return found


def write(folder: Path, key: Any, value: Any) -> None:
    """Keep a JSON value in `folder` under `key`, if that can be done and pays."""
    if sum(size for _, size, _ in files_of(folder)) < _SMALLEST:
        return
    short = _short(key)
    others = [(name, old) for name, old in _values(folder).items() if name != short]
    try:
        write_json(folder / _FILE, {"values": [*others[1 - _VALUES :], (short, value)]})
    except SuiteError:
        # A read-only folder: the value is worked out again next time.
        return


def _values(folder: Path) -> dict[str, Any]:
    try:
        rows = read_json(folder / _FILE)["values"]
        return {name: value for name, value in rows if isinstance(name, str)}
    except (SuiteError, KeyError, TypeError, ValueError):
        return {}


def _short(key: Any) -> str:
    return sha256_text(canonical_json(key))
