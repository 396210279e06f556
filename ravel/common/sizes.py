"""Amounts of memory as people write them."""

from __future__ import annotations

import re
import resource
import sys
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator

from ravel.common.errors import SuiteError

_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


_SIZE = re.compile(
    r"(?P<number>\d+(?:\.\d+)?)\s*(?P<prefix>[kmgt]?)(?P<binary>i?)(?P<byte>b?)", re.IGNORECASE
)


def peak_bytes() -> int:
    """Return the most main memory that this process has held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def parse_bytes(size: str | int) -> int:
    """Return a number of bytes: 4GiB is 4 * 2**30, 500MB is 500 * 10**6, a bare number is bytes. Raises
    SuiteError for a negative number and any other form."""
    match = _SIZE.fullmatch(str(size).strip())
    if match is None or (match["binary"] and not match["prefix"]):
        raise SuiteError(
            expected="an amount of memory, 0 or more",
            came=repr(size),
            todo="write for instance 4GiB, 500MB, or 0 to keep nothing",
        )
    base = 1024 if match["binary"] else 1000
    return int(Decimal(match["number"]) * base ** _POWERS[match["prefix"].lower()])


def _as_size(value: Any) -> Any:
    """Check an amount of memory; a bare number of bytes, as YAML has it, becomes text."""
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        parse_bytes(value)
        return str(value)
    return value


MemorySize = Annotated[str | None, BeforeValidator(_as_size)]
"""An amount of memory such as 4GiB, 500MB or a number of bytes; None leaves it open. Raises SuiteError for
anything else."""


def written_bytes(size: int) -> str:
    """Return a number of bytes for people: 4294967296 is `4.0 GiB`."""
    if size < 1024:
        return f"{size} B"
    for power, unit in enumerate(("KiB", "MiB", "GiB"), start=1):
        # What would be rounded up to 1024.0 is written in the next unit.
        if size < 1023.95 * 1024**power:
            return f"{size / 1024**power:.1f} {unit}"
    return f"{size / 1024**4:.1f} TiB"
