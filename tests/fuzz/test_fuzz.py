"""Damaged files: every reader of outside files loads them rightly or says what is wrong, and never crashes.

`RAVEL_FUZZ_INPUTS=10000 pytest tests/fuzz -m long` feeds as many to all of them; `fuzzing.fuzz_all` does the
same without pytest.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fuzzing import Reader, Row, fuzz, fuzz_all
from readers import READERS

from ravel.common.errors import SuiteError

QUICK, SLOW = 12, 60


def explained(rows: list[Row]) -> str:
    return "\n\n".join(f"{row.reader}: {kind}\n{how}" for row in rows for kind, how in row.escapes.items())


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_damaged_files_load_or_are_refused(reader: Reader) -> None:
    row = fuzz(reader, max(2, round(QUICK * reader.weight)), seed=0)
    assert not row.escaped, explained([row])
    assert row.loaded + row.refused == row.inputs


@pytest.mark.slow
@pytest.mark.long
def test_many_damaged_files_load_or_are_refused() -> None:
    inputs = int(os.environ.get("RAVEL_FUZZ_INPUTS", SLOW * len(READERS)))
    rows = fuzz_all(inputs, seed=1)
    assert sum(row.inputs for row in rows) == inputs
    assert not any(row.escaped for row in rows), explained(rows)


def test_equal_seeds_give_equal_counts() -> None:
    one, two = (fuzz(READERS[0], 25, seed=5) for _ in range(2))
    assert one == two
    assert fuzz_all(7, seed=5, readers=READERS[:2]) == fuzz_all(7, seed=5, readers=READERS[:2])


@pytest.mark.parametrize(
    ("read", "escape"),
    [
        (lambda text: {}[text], "KeyError"),
        (lambda text: object().__str__() + str(id([])) + os.urandom(4).hex(), "_LawError"),
        (lambda text: [][len(text)], "IndexError"),
    ],
)
def test_what_escapes_is_counted(read: object, escape: str) -> None:
    """The instrument itself: a reader that breaks the law on damaged files is found out."""

    def faulty(folder: Path) -> object:
        text = (folder / "a.json").read_bytes() if (folder / "a.json").is_file() else b""
        return "fine" if text == b"[1, 2]" else read(text)  # type: ignore[operator]

    reader = Reader("faulty", lambda folder: (folder / "a.json").write_text("[1, 2]") and None, faulty)
    row = fuzz(reader, 30, seed=0)
    assert row.escaped > 20
    assert any(escape in kind for kind in row.escapes)


def test_an_error_without_words_is_an_escape() -> None:
    def mute(folder: Path) -> object:
        if (folder / "a.json").is_file() and (folder / "a.json").read_bytes() == b"[1, 2]":
            return 1
        raise SuiteError(expected="x", came=" ", todo="y")

    reader = Reader("mute", lambda folder: (folder / "a.json").write_text("[1, 2]") and None, mute)
    row = fuzz(reader, 20, seed=0)
    assert set(row.escapes) == {"SuiteError: a part without words"}
