"""The files of a release by name, out of a folder or an archive; nothing is unpacked to disk."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from ravel.common.errors import SuiteError
from ravel.common.io import read_bytes
from ravel.common.strict_json import JsonError, parse_json

MEMBER_LIMIT = 64 << 20
"""Largest file an archive may hold, in bytes; the largest of the release has 0.65 MB."""

MEMBER_COUNT_LIMIT = 10_000
"""Most members an archive may have."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a release, read whole."""

    content: bytes
    """Its bytes."""
    where: str
    """Where it lies, for errors."""

    def mapping(self) -> dict[str, Any]:
        """Return the JSON object that it holds. Raises SuiteError naming the file for anything else."""
        try:
            value = parse_json(self.content.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise self._error("UTF-8 text", f"a wrong byte at offset {error.start}") from None
        except JsonError as error:
            at = "" if error.line is None else f" at line {error.line}, column {error.column}"
            raise self._error("JSON", f"{error}{at}") from None
        if not isinstance(value, dict):
            raise self._error("a JSON object", f"a {type(value).__name__}")
        return value

    def _error(self, expected: str, came: str) -> SuiteError:
        return SuiteError(
            expected=f"{expected} in {self.where}",
            came=came,
            todo="correct the file or download the release again",
        )


def folder_files(folder: Path, names: Iterable[str]) -> dict[str, SourceFile]:
    """Read the files from a folder or one folder down. Raises SuiteError for one that is missing."""
    files: dict[str, SourceFile] = {}
    for name in names:
        places = [folder / name, *sorted(folder.glob(f"*/{name}"))]
        place = next((place for place in places if place.is_file()), None)
        if place is None:
            raise _missing(name, str(folder))
        files[name] = SourceFile(read_bytes(place), str(place))
    return files


_ARCHIVE_NAMES = (".tgz", ".tar", ".gz", ".bz2", ".xz")

_ARCHIVE_STARTS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")

_TAR_MAGIC = slice(257, 262)


def _refuse_other_files(path: Path) -> None:
    """Raise SuiteError for a file that neither is an archive nor is named like one: somebody's own facts."""
    try:
        with path.open("rb") as stream:
            start = stream.read(_TAR_MAGIC.stop)
    except OSError:
        return
    named = path.name.lower().endswith(_ARCHIVE_NAMES)
    if named or start.startswith(_ARCHIVE_STARTS) or start[_TAR_MAGIC] == b"ustar":
        return
    raise SuiteError(
        expected="a folder with entities.jsonl and templates.jsonl, or an archive of the release",
        came=f"{path}, a single file that is no archive",
        todo=(
            "make a folder of the two files, also from a CSV: each row of a CSV becomes a line of "
            "entities.jsonl with its name, its partition (train, val or test) and a value per attribute, "
            '{"entity": "Nile", "partition": "train", "values": {"Length": "6650"}}, and templates.jsonl has '
            'lines such as {"attribute": "Length", "entity": null, "partition": "train", "template": '
            '"The %s has a length in km of"}; the attributes are declared in an entity type '
            "(docs/how-to/add-an-entity-type.md)"
        ),
    )


def archive_files(path: Path, names: Iterable[str]) -> dict[str, SourceFile]:
    """Read the files out of a tar archive, in memory. Raises SuiteError for what is no archive, an unsafe
    member, and a file that is missing or there twice."""
    _refuse_other_files(path)
    wanted = set(names)
    files: dict[str, SourceFile] = {}
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in _safe_members(archive, path):
                name = PurePosixPath(member.name).name
                if name not in wanted:
                    continue
                if name in files:
                    raise _unsafe(path, f"{name} twice")
                stream = archive.extractfile(member)
                assert stream is not None  # only regular files come here
                files[name] = SourceFile(stream.read(), f"{member.name} in {path}")
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise SuiteError(
            expected=f"a whole tar archive at {path}",
            came=f"{error or type(error).__name__}",
            todo="download data.tgz again",
        ) from None
    for name in sorted(wanted - set(files)):
        raise _missing(name, str(path))
    return files


def _safe_members(archive: tarfile.TarFile, path: Path) -> Iterator[tarfile.TarInfo]:
    """Yield the regular files, each checked before anything behind its header is read."""
    for number, member in enumerate(archive):
        windows = PureWindowsPath(member.name)
        if number >= MEMBER_COUNT_LIMIT:
            raise _unsafe(path, f"more than {MEMBER_COUNT_LIMIT} members")
        if PurePosixPath(member.name).is_absolute() or windows.drive or windows.root or ".." in windows.parts:
            raise _unsafe(path, f"a member outside it, {member.name!r}")
        if member.isdir():
            continue
        if not member.isreg():
            raise _unsafe(path, f"{member.name!r}, which is a link or a device")
        if member.size > MEMBER_LIMIT:
            raise _unsafe(path, f"{member.name!r} with {member.size} bytes")
        yield member


def _missing(name: str, place: str) -> SuiteError:
    return SuiteError(
        expected=f"{name} in {place}",
        came="no such file there",
        todo="give the folder or archive that holds all five files of the type",
    )


def _unsafe(path: Path, came: str) -> SuiteError:
    return SuiteError(
        expected=f"an archive of plain files at {path}",
        came=came,
        todo="use data.tgz of github.com/explanare/ravel",
    )
