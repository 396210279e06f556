"""Cells that failed, as records: one file of a run, read by tables; it runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evaluation.records.scores import Refusal
from ravel.common.io import remove_file, write_jsonl
from ravel.common.typed import Record

FAILURES = "failures.jsonl"
"""The file in the folder of a run; absent where nothing failed."""
_NAMED = 5
"""Failures that notes name one by one."""


@dataclass(frozen=True, slots=True)
class Failure(Record):
    """One line of `failures.jsonl`: a cell that has no result, for something broke each time it was tried."""

    MEND = "run the suite again; the file is written anew"

    cell: str
    """Id of the cell; it is tried again when the run is continued."""
    method: str
    """Its method."""
    attribute: str
    """Its target; `*` if it serves all."""
    site: str
    """Its site."""
    size: int | Literal["*"]
    """Its number of coordinates; `*` if that follows from the method."""
    seed: int
    """Its seed."""
    stage: str
    """`fit`, with the validation splits, or `judge`: the test splits."""
    attempts: int
    """How often it was tried."""
    error: str
    """What happened the last time, in one paragraph."""
    trace: str
    """The traceback; empty where a process died or the error was a user's."""

    def label(self) -> str:
        """Name the cell for people."""
        size = "" if self.size == "*" else f" size {self.size}"
        target = "every attribute" if self.attribute == "*" else self.attribute
        return f"{self.method} {target} {self.site}{size} seed {self.seed}"


def write_failures(folder: Path, failures: Sequence[Failure]) -> None:
    """Write a run's failures, or remove what an earlier attempt wrote."""
    path = folder / FAILURES
    if failures:
        write_jsonl(path, (failure.to_json() for failure in failures))
    else:
        remove_file(path)


def read_failures(folder: Path) -> list[Failure]:
    """Read a run's failures; none if nothing failed. Raises SuiteError naming the line that does not fit."""
    path = folder / FAILURES
    return Failure.read(path) if path.is_file() else []


def failure_refusals(failures: Sequence[Failure], holes: Sequence[tuple[str, str]]) -> list[Refusal]:
    """Return the (method, attribute) pairs of `holes` that failures left without any cell, with the last
    error: they stand in the tables beside the methods that had no answer."""
    found = []
    for method, attribute in holes:
        own = [f for f in failures if f.method == method and f.attribute in ("*", attribute)]
        if own:
            reason = f"failed in {own[0].attempts} attempts: {own[0].error}"
            found.append(Refusal(method, attribute, reason))
    return found


def failure_notes(failures: Sequence[Failure]) -> list[str]:
    """Return sentences for a table or a page: how many cells are missing, and why the first ones are."""
    if not failures:
        return []
    named = [f"{f.label()} ({' '.join(f.error.split()).rstrip('.')})" for f in failures[:_NAMED]]
    more = f", and {len(failures) - len(named)} more" if len(failures) > len(named) else ""
    return [f"Failed each time and left out, cells: {len(failures)}. {'; '.join(named)}{more}."]
