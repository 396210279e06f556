"""Feeds damaged files to every reader of outside files and counts what becomes of them.

The law: a reader returns a value, which a second read returns too and which survives being written and read
again where there is a writer, or it raises SuiteError with something to say. Nothing else may come out.
`fuzz_all(inputs, seed)` gives exactly as many inputs and, for equal seeds, the same ones.
"""

from __future__ import annotations

import random
import shutil
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from mutations import mutated

from ravel.common.errors import SuiteError

__all__ = ["Reader", "Row", "fuzz", "fuzz_all"]

_SECONDS = 20
"""What one input may take before it counts as a hang."""
_MESSAGE = 7000
"""Characters of an error at most."""


@dataclass(frozen=True)
class Reader:
    """A function that reads outside files, with valid ones to begin from."""

    name: str
    """As in the table of results."""
    make: Callable[[Path], None]
    """Fills an empty folder with valid files."""
    read: Callable[[Path], object]
    """Reads that folder; values are compared by `==` or `repr`."""
    mutable: Sequence[str] = ("**/*",)
    """Patterns of the files that are damaged."""
    write: Callable[[Any, Path], None] | None = None
    """Writes a value that was read into an empty folder, for `read` to give it back."""
    repair: Callable[[Path], None] | None = None
    """Brings hashes up to date, so that damage gets past them; may fail where files are too damaged."""
    weight: float = 1.0
    """Share of the inputs, relative to the others; less for slow readers."""


@dataclass
class Row:
    """What became of one reader's inputs."""

    reader: str
    """The reader's name."""
    inputs: int = 0
    """Damaged folders that were read."""
    loaded: int = 0
    """Those that gave a value."""
    refused: int = 0
    """Those that gave a SuiteError."""
    escaped: int = 0
    """Those that gave anything else, or a value that breaks the law."""
    escapes: dict[str, str] = field(default_factory=dict)
    """Each kind of escape once, with a trace."""


class _HangError(BaseException):
    """Raised by the alarm; no reader's `except Exception` can swallow it."""


class _LawError(Exception):
    """A value or an error that is not what it should be."""


def fuzz_all(inputs: int, seed: int, readers: Sequence[Reader] | None = None) -> list[Row]:
    """Feed exactly `inputs` damaged folders to all readers, by their weights, and return a row for each."""
    if readers is None:
        from readers import READERS

        readers = READERS
    total, given, rows, reached = sum(reader.weight for reader in readers), 0, [], 0.0
    for reader in readers:
        reached += reader.weight
        count = round(inputs * reached / total) - given
        given += count
        rows.append(fuzz(reader, count, seed))
    return rows


def fuzz(reader: Reader, inputs: int, seed: int) -> Row:
    """Feed damaged folders to one reader. The undamaged one must load, and obey the law."""
    stream, row = random.Random(f"{seed} {reader.name}"), Row(reader.name)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        valid = Path(place) / "valid"
        valid.mkdir()
        reader.make(valid)
        with _alarm():
            _check(reader, valid)
        for number in range(inputs):
            folder = Path(place) / "damaged"
            shutil.copytree(valid, folder)
            said = _damage(stream, folder, reader)
            _count(row, reader, folder, f"input {number} of seed {seed}: {said}")
            shutil.rmtree(folder, ignore_errors=True)
    return row


def _count(row: Row, reader: Reader, folder: Path, said: str) -> None:
    row.inputs += 1
    try:
        with _alarm():
            _check(reader, folder)
        row.loaded += 1
    except SuiteError as error:
        problem = _problem_of(error)
        if problem is None:
            row.refused += 1
            return
        row.escaped += 1
        row.escapes.setdefault(f"SuiteError: {problem}", f"{said}\n{error!r:.2000}")
    except (Exception, _HangError) as error:  # noqa: BLE001, RUF100 - whatever comes is what is looked for
        row.escaped += 1
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = next(
            (
                f
                for f in reversed(traceback.extract_tb(error.__traceback__))
                if "/site-packages/" not in f.filename
            ),
            last,
        )
        kind = f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}"
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__, limit=-12))
        row.escapes.setdefault(kind, f"{said}\n{trace[-3000:]}")


def _check(reader: Reader, folder: Path) -> None:
    value = reader.read(folder)
    shown = repr(value)
    if not _same(reader.read(folder), value):
        raise _LawError("a second read gives another value")
    if reader.write is None:
        return
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        try:
            reader.write(value, Path(place))
            again = reader.read(Path(place))
        except SuiteError as error:
            raise _LawError(f"what was read can't be written and read again: {error}") from error
        if not _same(again, value):
            raise _LawError(f"written and read again it is {again!r:.300}, not {shown[:300]}")


def _same(one: object, other: object) -> bool:
    """Tell whether two values are equal; those without an equality of their own are compared as shown."""
    return bool(one == other) or repr(one) == repr(other)


def _problem_of(error: SuiteError) -> str | None:
    """Return what is wrong with an error's words, None if they can be shown to a user."""
    if not all(part.strip() for part in (error.expected, error.came, error.todo)):
        return "a part without words"
    try:
        str(error).encode("utf-8")
    except UnicodeEncodeError:
        return "words that can't be printed"
    return "too many words" if len(str(error)) > _MESSAGE else None


def _damage(stream: random.Random, folder: Path, reader: Reader) -> str:
    """Damage a file, or rarely two, or what stands in its place, and say so."""
    files = sorted({p for pattern in reader.mutable for p in folder.glob(pattern) if p.is_file()})
    said = []
    for _ in range(stream.choice((1, 1, 1, 2))):
        path = stream.choice(files)
        if stream.random() < 0.06:
            said.append(_replaced(stream, path))
        elif path.is_file():
            path.write_bytes(mutated(stream, path.name, path.read_bytes()))
            said.append(f"{path.name} changed")
    if reader.repair is not None and stream.random() < 0.75:
        try:
            reader.repair(folder)
        except Exception:  # noqa: BLE001, RUF100 - what is too damaged to be repaired is left as it is
            said.append("beyond repair")
    return ", ".join(said)


def _replaced(stream: random.Random, path: Path) -> str:
    """Put something that is no such file in its place."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    kind = stream.choice(("nothing", "a folder", "a link to itself", "a dangling link"))
    if kind == "a folder":
        path.mkdir()
    elif kind == "a link to itself":
        path.symlink_to(path)
    elif kind == "a dangling link":
        path.symlink_to(path.with_name("nowhere"))
    return f"{path.name} replaced by {kind}"


@contextmanager
def _alarm() -> Iterator[None]:
    """Raise in the block once it takes too long."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise _HangError(f"no answer within {_SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
