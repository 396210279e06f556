"""One process at a time on the folder of a run; it knows nothing of what lies in the folder."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from ravel.common.errors import StorageError, SuiteError
from ravel.common.io import make_folder

LOCK_FILE = ".lock"
"""Name of the file that is locked; it is there while a process works on the folder, and after a kill."""


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Keep other processes away from a folder while the block runs; the folder is made if need be.

    The lock is the operating system's (flock) and goes with the process that holds it, so that nothing has to
    be removed after a kill. Raises SuiteError that names the other process if there is one. A folder that was
    made here and is still empty in the end is removed again.
    """
    made = not folder.exists()
    if folder.exists() and not folder.is_dir():
        raise SuiteError(
            expected=f"a folder at {folder}", came="a file of that name", todo="choose another --out"
        )
    make_folder(folder)
    handle = _locked(folder / LOCK_FILE)
    try:
        yield
    finally:
        # Removed while it is held: who opened it before finds another file in its place and tries again.
        (folder / LOCK_FILE).unlink(missing_ok=True)
        os.close(handle)
        if made and not any(folder.iterdir()):
            folder.rmdir()


def _locked(path: Path) -> int:
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StorageError(
                expected=f"to be able to write in {path.parent}",
                came=error.strerror or str(error),
                todo="choose another folder with --out, or free space and permissions there",
            ) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise _taken(path) from None
        if _is(path, handle):
            _sign(handle)
            return handle
        os.close(handle)


def _is(path: Path, handle: int) -> bool:
    """Tell whether the open file is the one that still has the name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _sign(handle: int) -> None:
    owner = {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "since": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    os.ftruncate(handle, 0)
    os.write(handle, json.dumps(owner).encode("utf-8"))


def _taken(path: Path) -> SuiteError:
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
        by = f"process {owner['process']} on {owner['host']}, since {owner['since']}"
    except (OSError, ValueError, TypeError, KeyError):
        by = "another process"
    return SuiteError(
        expected=f"to be alone in {path.parent}",
        came=f"{by} works on it",
        todo="wait until it has ended and run the same command, which then goes on from there, or choose "
        "another --out",
    )
