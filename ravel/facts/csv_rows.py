"""A table in CSV as names with values; every fault of the file is told at once. It knows no partitions."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ravel.common.errors import SuiteError, unknown_name
from ravel.common.io import read_text
from ravel.terms.mentions import same_text

_SEPARATORS = (",", ";", "\t")
_MOST_TOLD = 20
_FEWEST_ROWS = 3
"""One for each partition."""


@dataclass(frozen=True, slots=True)
class CsvRows:
    """What a CSV file says of its entities."""

    attributes: tuple[str, ...]
    """The columns besides that of names, in order."""
    values: tuple[tuple[str, dict[str, str]], ...]
    """(name, values by attribute) in the order of rows; a blank cell states nothing."""


@dataclass(slots=True)
class _Reading:
    path: Path
    header: Sequence[str]
    names_at: int
    faults: list[str] = field(default_factory=list)
    first_at: dict[str, int] = field(default_factory=dict)


def read_csv_rows(path: Path, entity_column: str | None = None) -> CsvRows:
    """Read a CSV file in UTF-8 with a header line; cells are parted by a comma, a semicolon or a tab,
    whichever the header has most of. `entity_column` has the names, by default the first column. Raises
    SuiteError for a column that is not there, and one for all rows that don't fit, each by its line."""
    text = read_text(path).removeprefix("\ufeff")
    first = text.partition("\n")[0]
    lines = _lines(text, max(_SEPARATORS, key=first.count))
    _, header = next(lines, (0, []))
    column = entity_column if entity_column is not None else (header or [""])[0]
    if column not in header:
        raise unknown_name(f"column of {path}", column, header)
    reading = _Reading(path, header, header.index(column))
    _check_header(reading)
    rows = tuple(_rows(lines, reading))
    if len(rows) < _FEWEST_ROWS and not reading.faults:
        reading.faults.append(f"{len(rows)} rows, where train, val and test need one each")
    if reading.faults:
        raise _refused(reading)
    return CsvRows(tuple(name for name in header if name != column), rows)


def _check_header(reading: _Reading) -> None:
    spelt = Counter(same_text(name.replace("_", " ")) for name in reading.header)
    doubled = [name for name, count in spelt.items() if count > 1 and name]
    if doubled:
        reading.faults.append(f"line 1 names {', '.join(map(repr, doubled))} twice")
    if "" in reading.header:
        reading.faults.append("line 1 has a column without a name")
    if len(reading.header) < 2:
        reading.faults.append("line 1 names no column besides that of the entities")


def _lines(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of the last line, cells) of every row that is not blank."""
    reader = csv.reader(text.splitlines(keepends=True), delimiter=separator, strict=True)
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield reader.line_num, [cell.strip() for cell in cells]


def _rows(lines: Iterator[tuple[int, list[str]]], reading: _Reading) -> Iterator[tuple[str, dict[str, str]]]:
    last = 1
    try:
        for last, cells in lines:
            if (row := _row(cells, last, reading)) is not None:
                yield row
    except csv.Error as error:
        reading.faults.append(f"line {last + 1} can't be read, nor what follows: {error}")


def _row(cells: list[str], line: int, reading: _Reading) -> tuple[str, dict[str, str]] | None:
    if len(cells) != len(reading.header):
        reading.faults.append(f"line {line} has {len(cells)} cells, not {len(reading.header)}")
        return None
    name = cells[reading.names_at]
    stated = {
        column: cell
        for at, (column, cell) in enumerate(zip(reading.header, cells, strict=True))
        if at != reading.names_at and cell
    }
    first = reading.first_at.setdefault(name, line)
    if not name:
        reading.faults.append(f"line {line} has no name")
    elif first != line:
        reading.faults.append(f"line {line} names {name!r} again, as line {first} does")
    elif not stated:
        reading.faults.append(f"line {line} says nothing of {name!r}")
    else:
        return name, stated
    return None


def _refused(reading: _Reading) -> SuiteError:
    told = reading.faults[:_MOST_TOLD]
    more = len(reading.faults) - len(told)
    return SuiteError(
        expected=f"a header and a row for each entity, each with its own name and a value, in {reading.path}",
        came="; ".join(told) + (f"; and {more} more" if more else ""),
        todo="mend these lines of the table",
    )
