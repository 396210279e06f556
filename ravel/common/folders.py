"""New folders that appear whole or not at all; it knows nothing of what lies in them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ravel.common import durable
from ravel.common.errors import SuiteError
from ravel.common.io import make_folder, writing


def check_new_folder(folder: Path) -> None:
    """Raise SuiteError unless a folder can be made at `folder`; nothing is written. An empty folder that is
    there already will do. To be called before long work whose result goes there."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        raise SuiteError(
            expected=f"no folder, or an empty one, at {folder}",
            came="one with files in it" if folder.is_dir() else "a file",
            todo="choose another --out or remove it first",
        )
    ancestor = next(parent for parent in folder.absolute().parents if parent.exists())
    with writing(folder):
        if not ancestor.is_dir():
            raise NotADirectoryError(f"{ancestor} is a file")
        if not os.access(ancestor, os.W_OK | os.X_OK):
            raise PermissionError(f"no permission to write in {ancestor}")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder`; it becomes `folder` if the block ends well and goes otherwise.

    What it holds then outlasts a power cut, however it was written. Folders that killed processes left beside
    `folder` under its name are removed.
    Raises SuiteError as `check_new_folder` does, and where the folder can't be made or moved.
    """
    check_new_folder(folder)
    make_folder(folder.parent)
    durable.remove_parts(folder.parent, folder.name)
    with writing(folder):
        staging = durable.new_part_folder(folder)
    try:
        yield staging
        with writing(folder):
            staging.chmod(0o755)
            durable.move_folder(staging, folder)
    finally:
        durable.DISK.remove_folder(staging)
