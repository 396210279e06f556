"""A submission as a folder of plain files, from a folder or a zip; what they say is not known here.

Nothing of an archive is believed: names are checked before a file is made, every byte is counted as it is
written, and only plain files are made, in a folder that is removed afterwards.
"""

from __future__ import annotations

import os
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from evaluation.verify.submission.limits import LIMITS, Limits
from evaluation.verify.submission.names import MANIFEST, check_names, refused, unsafe, without_wrapping_folder
from ravel.common.errors import SuiteError

_BLOCK = 1 << 16
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error),
    *(EOFError, OSError, NotImplementedError, RuntimeError, ValueError, LookupError, OverflowError),
)


def is_zip_name(path: Path) -> bool:
    """Tell whether a path ends as a zip archive's name does, whatever lies there."""
    return path.name.lower().endswith(".zip")


def is_submission(path: Path) -> bool:
    """Tell whether a submission is claimed to be at a path: a zip, or a folder with its manifest."""
    return is_archive(path) or (path / MANIFEST).is_file()


def is_archive(path: Path) -> bool:
    """Tell by its name whether a file is an archive that can be opened."""
    return path.is_file() and is_zip_name(path)


@contextmanager
def opened(path: Path, limits: Limits = LIMITS) -> Iterator[Path]:
    """Yield a folder with the files of a submission, which is `path` itself unless it is an archive.

    Raises SuiteError, before anything of the submission is read, for a name that leads elsewhere or has no
    place, links, devices, doubles, encrypted or damaged entries, and sizes beyond the limits.
    """
    if path.is_dir():
        plain_files(path, limits)
        yield path
        return
    if not is_archive(path):
        raise SuiteError(
            expected=f"a submission at {path}: a folder, or a file that ends in .zip",
            came="another file" if path.exists() else "nothing there",
            todo="check the path",
        )
    with tempfile.TemporaryDirectory(prefix="ravel-submission-") as made:
        folder = Path(made) / "submission"
        folder.mkdir()
        try:
            _unpack_zip(path, folder, limits)
        except SuiteError:
            raise
        except _DAMAGE as error:
            raise refused(f"a damaged archive ({type(error).__name__}: {str(error)[:200]})") from None
        yield folder


def plain_files(folder: Path, limits: Limits = LIMITS) -> dict[str, int]:
    """Return the names of a submission's files with their sizes.

    Raises SuiteError for links, devices, names without a place, and sizes beyond the limits.
    """
    sizes: dict[str, int] = {}
    for path, status in _walk(folder):
        name = path.relative_to(folder).as_posix()
        if not stat.S_ISREG(status.st_mode):
            raise refused(f"{_kind(status.st_mode)} at {name[:200]!r}")
        if status.st_size > limits.of_file(name):
            raise refused(f"{status.st_size} bytes in {name!r}, above the limit of {limits.of_file(name)}")
        sizes[name] = status.st_size
        if len(sizes) > limits.files:
            raise refused(f"more than {limits.files} files")
    check_names(sizes, limits)
    if sum(sizes.values()) > limits.total_bytes:
        raise refused(f"more than {limits.total_bytes} bytes in all")
    return sizes


def _walk(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield everything below a folder but plain folders, in order; links are not followed."""
    waiting = [folder]
    while waiting:
        for path in sorted(waiting.pop().iterdir()):
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode):
                waiting.append(path)
            else:
                yield path, status


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a symbolic link"
    return "a device, pipe or socket"


@dataclass
class _Meter:
    """Counts what is written, whatever the archive says of its sizes."""

    archive_bytes: int
    """Size of the archive."""
    limits: Limits
    """What may be written."""
    written: int = 0
    """Bytes so far."""

    def count(self, n: int) -> None:
        """Add bytes. Raises SuiteError beyond a limit."""
        self.written += n
        if self.written > self.limits.total_bytes:
            raise refused(f"more than {self.limits.total_bytes} bytes when unpacked")
        if self.written > max(self.limits.ratio_from, self.limits.ratio * self.archive_bytes):
            raise refused(f"an archive that grows more than {self.limits.ratio}-fold when unpacked")

    def copy(self, stream: IO[bytes], path: Path, name: str) -> None:
        """Write a stream as a new file, no further than a file of this name may go."""
        most, size = self.limits.of_file(name), 0
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as out:
            while block := stream.read(_BLOCK):
                size += len(block)
                if size > most:
                    raise refused(f"more than {most} bytes in {name!r}")
                self.count(len(block))
                out.write(block)


_END = struct.Struct("<4sHHHHIIH")
_END_MARK, _ENTRY_MARK = b"PK\x05\x06", b"PK\x03\x04"
_MOST_PER_ENTRY = 1024
"""Bytes of the directory per entry: a name and what common programs add to it."""
_ENCRYPTED = 0x1 | 0x40 | 0x2000


def _unpack_zip(archive: Path, folder: Path, limits: Limits) -> None:
    if archive.stat().st_size > limits.total_bytes:
        raise refused(f"an archive of more than {limits.total_bytes} bytes")
    _check_directory(archive, limits)
    with zipfile.ZipFile(archive) as opened_zip:
        entries = opened_zip.infolist()
        for entry in entries:
            _check_entry(entry)
        # `filename` ends at a NUL and has other separators replaced; the original is what was packed.
        files = [entry for entry in entries if not entry.orig_filename.endswith("/")]
        wrap = without_wrapping_folder(entry.orig_filename for entry in files)
        check_names((entry.orig_filename.removeprefix(wrap) for entry in files), limits)
        meter = _Meter(archive.stat().st_size, limits)
        for entry in files:
            name = entry.orig_filename.removeprefix(wrap)
            with opened_zip.open(entry) as stream:
                meter.copy(stream, folder / name, name)
            if (folder / name).stat().st_size != entry.file_size:
                raise refused(f"a zip archive that states another size of {name!r}")


def _check_directory(archive: Path, limits: Limits) -> None:
    """Refuse an archive whose list of files alone would fill memory, and one that is something else too."""
    with archive.open("rb") as stream:
        begin = stream.read(4)
        stream.seek(max(0, archive.stat().st_size - _END.size))
        end = stream.read()
    if len(end) < _END.size or not end.startswith(_END_MARK) or begin not in (_ENTRY_MARK, _END_MARK):
        raise refused("a file that does not begin and end as a plain zip archive does")
    _, _, _, _, entries, directory, _, comment = _END.unpack(end)
    if comment or entries > 2 * limits.files or directory > _MOST_PER_ENTRY * max(1, entries):
        raise refused(f"a zip directory of {entries} entries and {directory} bytes")


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name, mode = entry.orig_filename, entry.external_attr >> 16
    if problem := unsafe(name):
        raise refused(problem)
    if entry.flag_bits & _ENCRYPTED:
        raise refused(f"the encrypted entry {name!r}")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise refused(f"the entry {name!r} with compression {entry.compress_type}")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise refused(f"{_kind(mode)} at {name!r}")
