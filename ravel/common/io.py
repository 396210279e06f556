"""Files: atomic writes, JSON Lines with line numbers in errors, hashes; no knowledge of content."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ravel.common.errors import SuiteError
from ravel.common.strict_json import NotJSONError, parse_json

__all__ = [
    "canonical_json",
    "make_folder",
    "read_json",
    "read_jsonl",
    "read_text",
    "sha256_file",
    "sha256_text",
    "write_bytes",
    "write_json",
    "write_jsonl",
    "write_text",
]


def canonical_json(value: Any) -> str:
    """Return `value` as one line of JSON with sorted keys: equal values give equal text. NaN is refused."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False, separators=(", ", ": "))


def sha256_text(text: str) -> str:
    """Return the SHA-256 of the text's UTF-8 bytes, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def read_text(path: Path) -> str:
    """Read a UTF-8 file. Raises SuiteError if it is absent, a folder, unreadable or not UTF-8."""
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise SuiteError(expected=f"a file at {path}", came="nothing there", todo="check the path") from None
    except IsADirectoryError:
        raise SuiteError(expected=f"a file at {path}", came="a folder", todo="name the file itself") from None
    except PermissionError:
        raise SuiteError(
            expected=f"a readable file at {path}", came="no permission", todo="change the file's permissions"
        ) from None
    except OSError as error:
        raise SuiteError(
            expected=f"a readable file at {path}", came=error.strerror or str(error), todo="check the path"
        ) from None
    except UnicodeDecodeError as error:
        raise SuiteError(
            expected=f"UTF-8 text in {path}",
            came=f"byte {error.object[error.start]:#04x} at offset {error.start}",
            todo="save the file as UTF-8",
        ) from None


def read_json(path: Path) -> Any:
    """Read one JSON value. Raises SuiteError for what `parse_json` refuses: with the line and column of a
    syntax error, for NaN, repeated keys, and deep nesting."""
    try:
        return parse_json(read_text(path))
    except NotJSONError as error:
        raise SuiteError(expected=f"JSON in {path}", came=str(error), todo="correct that line") from None


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) for each line of a JSON Lines file; a blank line is an error.

    Raises SuiteError naming the line for anything that is not one JSON object per line.
    """
    lines = read_text(path).split("\n")
    if lines and lines[-1] == "":
        lines.pop()
    for number, line in enumerate(lines, start=1):
        try:
            value = parse_json(line)
        except NotJSONError as error:
            raise _bad_line(path, number, str(error).replace("at line 1, column", "at column")) from None
        if not isinstance(value, dict):
            raise _bad_line(path, number, f"a {type(value).__name__}")
        yield number, value


def _bad_line(path: Path, number: int, came: str) -> SuiteError:
    return SuiteError(
        expected=f"one JSON object on line {number} of {path}",
        came=came,
        todo=f"correct or remove line {number}",
    )


def make_folder(path: Path) -> Path:
    """Create a folder and its parents. Raises SuiteError where that is not permitted or a file is there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise SuiteError(
            expected=f"a folder at {path}", came="a file of that name", todo="choose another place"
        ) from None
    except OSError as error:
        raise _unwritable(path, error) from None
    return path


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old bytes or the new ones, never a part.

    Raises SuiteError where the folder can't be written to or the disk is full.
    """
    make_folder(path.parent)
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise _unwritable(path, error) from None
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically, line ends as given."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write one JSON value atomically, indented, keys sorted. NaN is refused."""
    write_text(path, json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False, indent=2) + "\n")


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as JSON Lines atomically, keys sorted. NaN is refused."""
    write_text(path, "".join(canonical_json(row) + "\n" for row in rows))


def _unwritable(path: Path, error: OSError) -> SuiteError:
    return SuiteError(
        expected=f"to be able to write {path}",
        came=error.strerror or str(error),
        todo="choose another folder with --out, or free space and permissions there",
    )
