"""What tests hold equal to the byte: the files of a folder."""

from __future__ import annotations

from pathlib import Path

__all__ = ["bytes_in"]


def bytes_in(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
