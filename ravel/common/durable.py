"""Writes that outlast kills and power cuts: their steps, and what killed processes left; content is not known
here.

A file is written beside its place, brought to the disk, renamed, and its folder is brought to the disk. A
crash between any two steps leaves the old content or the new one. What it leaves beside them ends in `.part`
and says which process it belonged to.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from ravel.common.signals import uninterrupted

_PART = ".part"
_MARKED = re.compile(r"^\..+\.(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-(?P<start>\d+)\.[A-Za-z0-9_]+\.part$")
_PARTS_KEPT = 86_400.0
"""Seconds after which an unfinished file of a process that can't be asked belongs to nobody."""
_NO_FOLDER_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.EISDIR})
"""What file systems answer that keep the entries of a folder in another way."""


class Disk:
    """The steps of which writes are made; each raises OSError. No other code changes files of results."""

    def mark(self) -> str:
        """Return which process unfinished files belong to; it stands in their names."""
        return process_mark()

    def make_folder(self, folder: Path) -> None:
        """Make a folder in one that exists; one that is there already will do."""
        folder.mkdir(exist_ok=True)

    def create(self, folder: Path, prefix: str) -> Path:
        """Make an empty file that no other process will choose."""
        handle, name = tempfile.mkstemp(dir=folder, prefix=prefix, suffix=_PART)
        os.close(handle)
        Path(name).chmod(0o644)
        return Path(name)

    def create_folder(self, folder: Path, prefix: str) -> Path:
        """Make an empty folder that no other process will choose."""
        return Path(tempfile.mkdtemp(dir=folder, prefix=prefix, suffix=_PART))

    def fill(self, part: Path, write: Callable[[Path], object]) -> None:
        """Let `write` put all content into an empty file."""
        write(part)

    def append(self, path: Path, content: bytes) -> None:
        """Add bytes at the end of a file; they need not reach the disk."""
        with path.open("ab") as stream:
            stream.write(content)

    def sync(self, path: Path) -> None:
        """Return when the content of a file is on the disk."""
        # Windows wants the right to write for it.
        handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def rename(self, source: Path, target: Path) -> None:
        """Put a file or folder in the place of another, at once."""
        source.replace(target)

    def sync_folder(self, folder: Path) -> None:
        """Return when the entries of a folder are on the disk, where the system can say so."""
        try:
            handle = os.open(folder, os.O_RDONLY)
        except PermissionError:
            # A folder that may be written to but not listed, and any folder on Windows.
            return
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in _NO_FOLDER_SYNC:
                raise
        finally:
            os.close(handle)

    def remove(self, path: Path) -> None:
        """Remove a file, if it is there."""
        path.unlink(missing_ok=True)

    def remove_folder(self, folder: Path) -> None:
        """Remove a folder with all that lies in it, as far as possible."""
        shutil.rmtree(folder, ignore_errors=True)


DISK = Disk()
"""The disk that all writes use; tests put one in its place that fails."""


def make_folders(folder: Path) -> None:
    """Make a folder and those above it, each of them on the disk. Raises OSError."""
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder))
    missing = []
    for ancestor in (folder, *folder.parents):
        if ancestor.exists():
            break
        missing.append(ancestor)
    for one in reversed(missing):
        DISK.make_folder(one)
        DISK.sync_folder(one.parent)


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a new file, which then takes the place of `path`.

    After a crash at any moment `path` holds what it held before, or all of the new content. The folder must
    exist. Raises OSError, and what `write` raises; then no unfinished file is left behind. An interruption
    waits until the file is written.
    """
    with uninterrupted():
        part = DISK.create(path.parent, _prefix(path))
        try:
            DISK.fill(part, write)
            # Before the rename: otherwise the new name might reach the disk before the content.
            DISK.sync(part)
            DISK.rename(part, path)
        except BaseException:
            with suppress(OSError):
                DISK.remove(part)
            raise
        DISK.sync_folder(path.parent)


def move_folder(staging: Path, folder: Path) -> None:
    """Put `staging`, with all that lies in it, in the place of `folder`, which is empty or not there. After a
    crash at any moment `folder` is as it was, or whole. Raises OSError."""
    for parent, _, names in os.walk(staging, topdown=False):
        for name in names:
            DISK.sync(Path(parent, name))
        DISK.sync_folder(Path(parent))
    if folder.is_dir():
        folder.rmdir()
    DISK.rename(staging, folder)
    DISK.sync_folder(folder.parent)


def new_part_folder(folder: Path) -> Path:
    """Return an empty folder beside `folder`, to be moved into its place. Raises OSError."""
    return DISK.create_folder(folder.parent, _prefix(folder))


def remove_parts(folder: Path, of: str | None = None) -> list[Path]:
    """Remove what killed processes left unfinished in `folder` and below; return what it was. What belongs to
    a process that runs stays. So does, for a day, what belongs to another machine, or bears another name than
    this module gives. With `of` only what was to become `folder/of` is removed."""
    removed = []
    for part in sorted(folder.rglob(f".*{_PART}") if of is None else _parts_of(folder, of)):
        with suppress(OSError):
            if _is_left(part):
                (DISK.remove_folder if part.is_dir() else DISK.remove)(part)
                removed.append(part)
    return removed


def _parts_of(folder: Path, name: str) -> Iterator[Path]:
    with suppress(OSError):
        yield from (p for p in folder.iterdir() if p.name.startswith(f".{name}.") and p.name.endswith(_PART))


def _is_left(part: Path) -> bool:
    """Tell whether nobody will finish a part."""
    owner = _MARKED.match(part.name)
    if owner is None or owner["host"] != _host():
        return time.time() - part.stat().st_mtime > _PARTS_KEPT
    started = _started(int(owner["pid"]))
    return started is None or started != owner["start"]


def process_mark() -> str:
    """Return host, number and start of this process; no two in one folder have the same."""
    return f"{_host()}-{os.getpid()}-{_started(os.getpid()) or 0}"


@cache
def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _started(pid: int) -> str | None:
    """Return when a process of this machine began, "0" where the system does not tell, None if it is gone.
    Numbers come again, in containers after each start; a number together with the start does not."""
    try:
        # The name in brackets may hold anything; what follows it are numbers, of which the 20th is the start.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        # One that has ended but was not yet waited for will write no more.
        return None if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError, UnicodeDecodeError):
        return _alive(pid)


def _alive(pid: int) -> str | None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return "0"


def _prefix(path: Path) -> str:
    return f".{path.name}.{DISK.mark()}."
