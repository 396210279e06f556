"""Files: atomic writes that last, JSON Lines with line numbers in errors, hashes; no knowledge of content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ravel.common import durable
from ravel.common.errors import StorageError, SuiteError
from ravel.common.strict_json import JsonError, parse_json


def canonical_json(value: Any) -> str:
    """Return `value` as one line of JSON with sorted keys: equal values give equal text. NaN is refused."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False, separators=(", ", ": "))


def foreign_json(value: Any) -> str:
    """Return `canonical_json` of a value that another library read: it may hold infinities and NaN, which are
    written as that library writes them (`Infinity`, `NaN`)."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(", ", ": "))


def sha256_text(text: str) -> str:
    """Return the SHA-256 of the text's UTF-8 bytes, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal. Raises SuiteError if it can't be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                digest.update(block)
    except OSError as error:
        raise SuiteError(
            expected=f"a readable file at {path}", came=error.strerror or str(error), todo="check the path"
        ) from None
    return digest.hexdigest()


def read_bytes(path: Path) -> bytes:
    """Read a file. Raises SuiteError if it is absent, a folder or unreadable."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise SuiteError(expected=f"a file at {path}", came="nothing there", todo="check the path") from None
    except IsADirectoryError:
        raise SuiteError(expected=f"a file at {path}", came="a folder", todo="name the file itself") from None
    except PermissionError:
        raise SuiteError(
            expected=f"a readable file at {path}", came="no permission", todo="change the file's permissions"
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise SuiteError(
            expected=f"a readable file at {str(path)!r}", came=reason or str(error), todo="check the path"
        ) from None


def read_text(path: Path) -> str:
    """Read a UTF-8 file. Raises SuiteError if it is absent, a folder, unreadable or not UTF-8."""
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise SuiteError(
            expected=f"UTF-8 text in {path}",
            came=f"byte {error.object[error.start]:#04x} at offset {error.start}",
            todo="save the file as UTF-8",
        ) from None


def read_json(path: Path) -> Any:
    """Read one JSON value by `parse_json`. Raises SuiteError with line and column of a syntax error."""
    try:
        return parse_json(read_text(path))
    except JsonError as error:
        at = "" if error.line is None else f" at line {error.line}, column {error.column}"
        raise SuiteError(
            expected=f"JSON in {path}",
            came=f"{error}{at}",
            todo="correct that line" if at else "correct the file",
        ) from None


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) for each line of a JSON Lines file, read strictly as `parse_json` does.
    Raises SuiteError naming the line that is not one JSON object; a blank one is none."""
    for number, line in numbered_lines(path):
        yield number, json_of_line(path, number, line)


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, text) for each line of a file. Raises SuiteError as `read_text` does."""
    yield from enumerate(read_lines(path), start=1)


def read_lines(path: Path) -> list[str]:
    """Return the lines of a file without their ends. Raises SuiteError as `read_text` does."""
    lines = read_text(path).split("\n")
    if lines and lines[-1] == "":
        lines.pop()
    return lines


def json_of_line(path: Path, number: int, line: str) -> dict[str, Any]:
    """Return the object on a line of a JSON Lines file. Raises SuiteError naming the line if it is none."""
    try:
        value = parse_json(line)
    except JsonError as error:
        at = "" if error.column is None else f" at column {error.column}"
        raise _bad_line(path, number, f"{error}{at}") from None
    if not isinstance(value, dict):
        raise _bad_line(path, number, f"a {type(value).__name__}")
    return value


def _bad_line(path: Path, number: int, came: str) -> SuiteError:
    return SuiteError(
        expected=f"one JSON object on line {number} of {path}",
        came=came,
        todo=f"correct or remove line {number}",
    )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within, what the file system refuses becomes a StorageError about `path`."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            expected=f"to be able to write {path}",
            came=error.strerror or str(error),
            todo="choose another folder with --out, or free space and permissions there",
        ) from None


def make_folder(path: Path) -> Path:
    """Create a folder and its parents. Raises SuiteError where that is not permitted or a file is there."""
    with writing(path):
        try:
            durable.make_folders(path)
        except (FileExistsError, NotADirectoryError):
            raise SuiteError(
                expected=f"a folder at {path}", came="a file of that name", todo="choose another place"
            ) from None
    return path


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old bytes or the new ones, never a part, even after a power cut.
    Raises SuiteError where the folder can't be written to or the disk is full."""
    write_with(path, lambda part: part.write_bytes(content))


def write_with(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write`, as of a library, fill a file that takes the place of `path` as in `write_bytes`. Raises
    SuiteError as that does, and what `write` raises besides OSError."""
    make_folder(path.parent)
    with writing(path):
        durable.write_file(path, write)


def append_text(path: Path, text: str) -> None:
    """Add UTF-8 text at the end of a file. A crash may leave a part of it, until `sync_file` has returned.
    Raises SuiteError where that can't be written."""
    with writing(path):
        durable.DISK.append(path, text.encode("utf-8"))


def sync_file(path: Path) -> None:
    """Return when all that was appended to a file outlasts a power cut. Raises SuiteError if that fails."""
    with writing(path):
        durable.DISK.sync(path)


def remove_file(path: Path) -> None:
    """Remove a file, if it is there. Raises SuiteError where that is not permitted."""
    with writing(path):
        durable.DISK.remove(path)


def remove_folder(path: Path) -> None:
    """Remove a folder with all that lies in it, as far as that is possible and it is there."""
    durable.DISK.remove_folder(path)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically, line ends as given."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write one JSON value atomically, indented, keys sorted. NaN is refused."""
    write_text(path, json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False, indent=2) + "\n")


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as JSON Lines atomically, keys sorted. NaN is refused."""
    write_text(path, "".join(canonical_json(row) + "\n" for row in rows))
