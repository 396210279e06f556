"""Tampered zip archives of a submission, in families: names, links, bombs, damage.

Each family yields names and functions that write an archive into an empty folder and return its path.
"""

from __future__ import annotations

import io
import stat
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from submission_edits import MANIFEST, files_of

Archives = Iterator[tuple[str, Callable[[Path], Path]]]
Contents = Iterable[tuple[zipfile.ZipInfo | str, bytes]]


def zip_bytes(contents: Contents, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as made, warnings.catch_warnings():
        # A name twice is what some mutations are about.
        warnings.simplefilter("ignore", UserWarning)
        for name, content in contents:
            made.writestr(name, content)
    return stream.getvalue()


def written(make: Callable[[], bytes], place: Path, name: str = "s.zip") -> Path:
    path = place / name
    path.write_bytes(make())
    return path


def zipped(contents: Contents) -> Callable[[Path], Path]:
    return partial(written, partial(zip_bytes, contents))


def contents_of(valid: Path, without: str = "") -> list[tuple[zipfile.ZipInfo | str, bytes]]:
    return [(name, (valid / name).read_bytes()) for name in files_of(valid) if name != without]


ELSEWHERE = [
    *("../scores.jsonl", "/etc/scores.jsonl", "featurizers/../../scores.jsonl", "./scores.jsonl"),
    *("a//b.json", "C:/scores.jsonl", "C:scores.jsonl", "..\\scores.jsonl"),
    *(
        "featurizers\\0\\featurizer.json",
        "\\\\host\\share\\scores.jsonl",
        "~/scores.jsonl",
        "scores.jsonl/..",
    ),
    *("..", "scores.jsonl ", "s\tcores.jsonl", "scöres.jsonl", "x" * 300 + ".json", "..."),
    *("featurizers/0/../1/featurizer.json", "con:.json"),
]
"""Names that lead out of the folder, or to a file that is another on another system."""
AGAIN = ("scores.jsonl", "SCORES.jsonl", "Featurizers/0/featurizer.json", "submission.JSON")
STRANGE = ("evil.py", "inner.zip", "inner.tar.gz", "weights.pt", "__MACOSX/._scores.jsonl", ".DS_Store")


def names_in_archives(valid: Path) -> Archives:
    contents = contents_of(valid)
    for name in ELSEWHERE:
        yield f"zip {name[:30]!r}", zipped([*contents, (name, b"{}")])
    for name in AGAIN:
        yield f"zip again {name}", zipped([*contents, (name, b"{}")])
    for name in STRANGE:
        yield f"zip with {name}", zipped([*contents, (name, b"PK")])
    with_nul = zip_bytes(contents).replace(b"scores.jsonl", b"scores\0jsonl")
    yield "zip with a NUL in a name", partial(written, lambda: with_nul)


def links_in_archives(valid: Path) -> Archives:
    for what, mode in (
        *(("link", stat.S_IFLNK), ("device", stat.S_IFCHR), ("block device", stat.S_IFBLK)),
        *(("pipe", stat.S_IFIFO), ("socket", stat.S_IFSOCK)),
    ):
        entry = zipfile.ZipInfo("scores.jsonl")
        entry.create_system, entry.external_attr = 3, (mode | 0o644) << 16
        yield f"zip {what}", zipped([*contents_of(valid, "scores.jsonl"), (entry, b"/etc/passwd")])


def bombs(valid: Path) -> Archives:
    """Archives that are small and unpack to much, or state sizes that are not theirs."""
    mib = 2**20
    contents, others = contents_of(valid), contents_of(valid, "scores.jsonl")
    big = "featurizers/9/featurizer.safetensors"
    many = [(f"featurizers/{n}/featurizer.safetensors", bytes(3 * mib)) for n in range(20, 30)]
    for size in (mib + 1, 8 * mib):
        yield f"zip of {size} zeros", zipped([*others, ("scores.jsonl", bytes(size))])
    yield "zip of a large tensor file", zipped([*others, (big, bytes(8 * mib))])
    yield "zip growing under the file's limit", zipped([*others, (big, bytes(4 * mib))])
    yield "zip of many large files", zipped([*contents, *many])
    yield (
        "zip of too many files",
        zipped([*contents, *((f"outcomes/{n}/context_test.jsonl", b"{}") for n in range(300))]),
    )
    for what, made, size in (
        ("small", [*others, (big, bytes(8 * mib))], 16),
        ("large", contents, 2**31),
    ):
        lying = partial(stating, size, made)
        yield f"zip that states {what} sizes", partial(written, lying)


def stating(size: int, contents: Contents) -> bytes:
    """State another unpacked size for the last entry, in the directory of a zip and in its own header."""
    archive = zip_bytes(contents)
    changed = bytearray(archive)
    for place in (last_headers(archive)[0] + 24, last_headers(archive)[1] + 22):
        changed[place : place + 4] = struct.pack("<I", size)
    return bytes(changed)


def flagged(bits: int, archive: bytes) -> bytes:
    """Set flags of the last entry, in the directory of a zip and in its own header."""
    changed = bytearray(archive)
    for place in (last_headers(archive)[0] + 8, last_headers(archive)[1] + 6):
        changed[place] |= bits & 0xFF
        changed[place + 1] |= bits >> 8
    return bytes(changed)


def last_headers(archive: bytes) -> tuple[int, int]:
    """Return where the last entry's line in the directory and its own header begin."""
    directory = archive.rindex(b"PK\x01\x02")
    return directory, int.from_bytes(archive[directory + 42 : directory + 46], "little")


def commented(archive: bytes) -> bytes:
    stream = io.BytesIO(archive)
    with zipfile.ZipFile(stream, "a") as made:
        made.comment = b"hello"
    return stream.getvalue()


def tar_bytes(contents: Iterable[tuple[str, bytes]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as made:
        for name, content in contents:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def damaged_archives(valid: Path) -> Archives:
    contents = [(str(name), content) for name, content in contents_of(valid)]
    plain = zip_bytes(contents)
    archives = {
        "zip encrypted": flagged(0x1, plain),
        "zip strongly encrypted": flagged(0x41, plain),
        "zip with hidden headers": flagged(0x2000, plain),
        "zip by bzip2": zip_bytes(contents, zipfile.ZIP_BZIP2),
        "zip by lzma": zip_bytes(contents, zipfile.ZIP_LZMA),
        "zip with a comment": commented(plain),
        "zip after a program": b"#!/bin/sh\nexit\n" + plain,
        "zip before a tail": plain + b"tail",
        "zip cut in half": plain[: len(plain) // 2],
        "zip without its end": plain[:-1],
        "zip without its beginning": plain[10:],
        "zip of nothing": zip_bytes([]),
        "zip without a byte": b"",
        "zip that is a tar": tar_bytes(contents),
        "zip that is text": b"hello " * 100,
        "zip without a manifest": zip_bytes(contents_of(valid, MANIFEST)),
        "zip in two folders": zip_bytes((f"{'ab'[i % 2]}/{n}", c) for i, (n, c) in enumerate(contents)),
        "zip in a folder in a folder": zip_bytes((f"a/b/{n}", c) for n, c in contents),
        "zip with changed data": plain[:100] + bytes([plain[100] ^ 255]) + plain[101:],
    }
    for what, archive in archives.items():
        yield what, partial(written, lambda archive=archive: archive)
    for what, name in (("another ending", "s.rar"), ("no ending", "s")):
        yield what, partial(written, lambda: plain, name=name)
    yield "a tar", partial(written, lambda: tar_bytes(contents), name="s.tar.gz")
