"""Which files of an instance, a featurizer or a run travel to a hub and back; it knows no hub."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from evaluation.report.cards.hub_results import RESULTS_FOLDER
from evaluation.verify.folders import MARKS, Kind
from evaluation.verify.run import RUN_RECORDS
from ravel.common.errors import SuiteError
from ravel.common.io import sha256_text
from ravel.instance import ALL_SPLITS

CARD = "README.md"
"""The card, which hubs show; it may lie in any of our folders."""
_PLUMBING = ".gitattributes"
"""What hubs put into every repository; it is never brought back."""

_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*"
_INSTANCE = rf"manifest\.json|prompts\.jsonl|pairs/(?:{'|'.join(ALL_SPLITS)})\.jsonl"
_FEATURIZER = (
    rf"{re.escape(RESULTS_FOLDER)}/{_NAME}\.yaml|"
    r"featurizer\.json|featurizer\.safetensors|cell\.json|train_log\.jsonl|diagnostics\.json"
    rf"|outcomes/{_NAME}\.jsonl"
)
_CELL_FOLDER = rf"(?:controls/{_NAME}/)?cells/{_NAME}"
# What a reader or TeX would run as a program stays at home: pages, SVG, PDF, TeX. It can be made again.
_RUN = (
    rf"config\.yaml|environment\.json|(?:{'|'.join(RUN_RECORDS)})\.jsonl|instance/(?:{_INSTANCE}|README\.md)"
    rf"|{_CELL_FOLDER}/(?:{_FEATURIZER})|controls/{_NAME}/floors/{_NAME}\.jsonl"
    rf"|tables/{_NAME}\.(?:md|csv)|plots/{_NAME}\.(?:png|jsonl)"
)
_PATTERNS: Mapping[Kind, re.Pattern[str]] = {
    "instance": re.compile(_INSTANCE),
    "featurizer": re.compile(_FEATURIZER),
    "run": re.compile(_RUN),
}
_SHOWN_NAMES = 5
_SHOWN_LENGTH = 100


@dataclass(frozen=True, slots=True)
class TravellingFile:
    """A file on this side: where it lies, and what its bytes are known by."""

    name: str
    """Path in the folder and in the repository, with `/`."""
    path: Path | None
    """Where it lies; None for what is written for the occasion."""
    size: int
    """Bytes."""
    sha256: str
    """SHA-256 of the bytes, as hubs name large files."""
    blob_id: str
    """What git names the bytes, as hubs name all others."""
    content: bytes = b""
    """The bytes of what lies nowhere."""


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """What of a folder goes up, and what stays."""

    files: tuple[TravellingFile, ...]
    """What goes up, by name."""
    left_out: tuple[str, ...]
    """What stays: unfinished cells, checkpoints, parts, `shared/`, pages, and files that are not ours."""


def travels(name: str, kind: Kind) -> bool:
    """Tell whether a file of this name is part of such a folder as it lies on a hub, card included."""
    plain = ".." not in name and not name.endswith(".part")
    return name == CARD or (plain and kind in _PATTERNS and _PATTERNS[kind].fullmatch(name) is not None)


def admitted(names: Iterable[str], kind: Kind) -> list[str]:
    """Return the names that are brought back from a hub: all of them but the hub's own plumbing.

    Raises SuiteError if the repository holds anything that our formats do not have.
    """
    wanted = sorted(set(names) - {_PLUMBING})
    strange = [name for name in wanted if not travels(name, kind)]
    if strange:
        raise SuiteError(
            expected=f"only files that {with_article(kind)} has, {CARD} and {_PLUMBING}",
            came=f"{_number(strange, 'other file')}: {named(strange)}",
            todo="nothing was taken from there; ask the owner to remove these files, or name another one",
        )
    return wanted


def kind_of_names(names: Iterable[str]) -> Kind | None:
    """Return what a folder with files of these names holds; None if it is none of ours."""
    found = set(names)
    return next((kind for mark, kind in MARKS.items() if mark in found and kind in _PATTERNS), None)


def files_of(folder: Path, kind: Kind) -> FolderFiles:
    """Read which files of a folder go up; each is hashed.

    Raises SuiteError for a link: its target lies elsewhere and would be published under another name.
    """
    names = list(_names(folder))
    finished = {name.removesuffix("/cell.json") for name in names if name.endswith("/cell.json")}
    goes = [name for name in names if travels(name, kind) and _in_finished_cell(name, finished)]
    stays = sorted(set(names) - set(goes))
    return FolderFiles(tuple(measured(name, folder / name) for name in goes), tuple(stays))


def _names(folder: Path) -> Iterator[str]:
    found = []
    for root, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(root) / name
            if path.is_symlink():
                raise SuiteError(
                    expected=f"files and folders in {folder}",
                    came=f"a link, {path.relative_to(folder).as_posix()}",
                    todo="put the file itself there, or push a copy of the folder without it",
                )
        found += [(Path(root) / name).relative_to(folder).as_posix() for name in files]
    yield from sorted(found)


def _in_finished_cell(name: str, finished: set[str]) -> bool:
    match = re.match(_CELL_FOLDER + "(?=/)", name)
    return match is None or match[0] in finished


def measured(name: str, content: bytes | Path) -> TravellingFile:
    """Return what is known of a file by its bytes, or by where it lies; it is read piece by piece."""
    if isinstance(content, bytes):
        return replace(_measured(name, None, len(content), io.BytesIO(content)), content=content)
    with content.open("rb") as stream:
        return _measured(name, content, content.stat().st_size, stream)


def _measured(name: str, path: Path | None, size: int, stream: BinaryIO) -> TravellingFile:
    sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    for block in iter(lambda: stream.read(1 << 20), b""):
        sha256.update(block)
        git.update(block)
    return TravellingFile(name, path, size, sha256.hexdigest(), git.hexdigest())


def fingerprint_of(files: Iterable[TravellingFile]) -> str:
    """Return the SHA-256 over names and hashes of the files: equal exactly if all bytes are."""
    lines = sorted(f"{file.sha256}  {file.name}\n" for file in files)
    return sha256_text("".join(lines))


def named(names: Sequence[str]) -> str:
    """Return the first few names for a message; whoever wrote them, they can't spoil a terminal."""
    shown = ", ".join(_printable(name) for name in names[:_SHOWN_NAMES])
    return shown if len(names) <= _SHOWN_NAMES else f"{shown} and {len(names) - _SHOWN_NAMES} more"


def _printable(name: str) -> str:
    text = name if name.isprintable() else ascii(name)
    return text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}..."


def with_article(kind: Kind) -> str:
    """Return the kind as it stands in a sentence."""
    return f"an {kind}" if kind == "instance" else f"a {kind}"


def _number(names: Sequence[str], word: str) -> str:
    return f"1 {word}" if len(names) == 1 else f"{len(names)} {word}s"
