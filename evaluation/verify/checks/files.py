"""Checks of single files: against their schema, of a featurizer with its cell, of outcomes against pairs;
they know no grid and no run.

Each returns what is wrong in words; nothing is raised for what a file says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from das.edits.storage import load_finding
from das.featurizers.storage import FeaturizerHeader
from das.featurizers.tensor_file import check_tensor_file
from das.finding import Finding
from evaluation.records.measured import INTERCHANGE, MeasuredRecord
from evaluation.records.scores import (
    AverageRecord,
    ComparisonRecord,
    JudgedCase,
    Outcome,
    ScoreRecord,
    is_template_name,
    template_name,
)
from evaluation.scoring.track import Track
from ravel.common.errors import SuiteError
from ravel.common.io import canonical_json, read_json, read_jsonl, sha256_text
from ravel.common.schemas import schema_problems, schema_problems_of_rows

_NOT_HASHED = ("cell", "swapped", "refused", "batches", "cost")
_MOST = 5
"""Problems of one file that are named."""


@dataclass(frozen=True, slots=True)
class FoundFeaturizer:
    """A featurizer's folder, as far as it can be read."""

    featurizer: Finding | None
    """None where it can't be."""
    header: FeaturizerHeader | None
    """None where it can't be."""
    problems: tuple[str, ...]
    """What is wrong."""


@dataclass(frozen=True, slots=True)
class FoundOutcomes:
    """A file of outcomes, as far as it can be read."""

    outcomes: tuple[Any, ...]
    """None of them where a line is wrong."""
    problems: tuple[str, ...]
    """What is wrong."""


def errors_of(check: Callable[[], list[str] | None]) -> list[str]:
    """Return what a check returns, or the message of the SuiteError that it raises."""
    try:
        return check() or []
    except SuiteError as error:
        return [str(error)]


def json_problems(path: Path, schema: str) -> list[str]:
    """Return what of a JSON file does not fit its schema."""
    return errors_of(lambda: schema_problems(read_json(path), schema, origin=path.name))


def lines_problems(path: Path, schema: str) -> list[str]:
    """Return what of the first line that does not fit its schema is wrong."""
    return errors_of(lambda: schema_problems_of_rows(read_jsonl(path), schema, origin=path.name))


_MEASURED: Mapping[str, type[MeasuredRecord]] = {
    "scores": ScoreRecord,
    "averages": AverageRecord,
    "comparisons": ComparisonRecord,
}


def measured_problems(path: Path, name: str, track: Track[Any]) -> list[str]:
    """Return what of a file of records is wrong, by its schema; where it holds measures of any track but the
    first, by what it measures, and by the track that it names."""
    if track.name == INTERCHANGE or name not in _MEASURED:
        return lines_problems(path, name)
    try:
        records = _MEASURED[name].read(path)
    except SuiteError as error:
        return [str(error)]
    return [
        f"{path.name}, line {number}: {', '.join(sorted(r.measures))} of {r.track} where {track.name} "
        f"measures {', '.join(track.names)}"
        for number, r in enumerate(records, start=1)
        if r.track != track.name or set(r.measures) != set(track.names)
    ][:1]


def check_featurizer(
    folder: Path, *, target_fingerprint: str | None = None, instance_fingerprint: str | None = None
) -> FoundFeaturizer:
    """Check `featurizer.json` and `featurizer.safetensors`: schema, hash, header, types, shapes, finite
    numbers, orthonormal columns, and readers that read their columns; fingerprints where they are given."""
    if problems := json_problems(folder / "featurizer.json", "featurizer"):
        return FoundFeaturizer(None, None, tuple(problems))
    tensors = folder / "featurizer.safetensors"
    try:
        # What a stranger's header says is looked at before a library believes it.
        check_tensor_file(tensors.read_bytes() if tensors.is_file() else b"", origin=str(tensors))
        featurizer, header = load_finding(
            folder, target_fingerprint=target_fingerprint, instance_fingerprint=instance_fingerprint
        )
    except SuiteError as error:
        return FoundFeaturizer(None, None, (str(error),))
    return FoundFeaturizer(featurizer, header, ())


def check_cell_file(path: Path, header: FeaturizerHeader, size: int) -> list[str]:
    """Check a `cell.json`: schema, its own hash, and that it says what the featurizer's header says."""
    if problems := json_problems(path, "cell"):
        return problems
    stated = read_json(path)
    return list(_disagreements(stated, header, size))


def _disagreements(stated: Mapping[str, Any], header: FeaturizerHeader, size: int) -> Iterator[str]:
    parts = {name: value for name, value in stated.items() if name not in _NOT_HASHED}
    # The id of a controlled cell is a hash over another id, which only its run knows.
    if "control" not in stated and stated.get("cell") != sha256_text(canonical_json(parts))[:16]:
        yield f"cell.json states the id {stated.get('cell')}, which is not the hash of what it says"
    if "refused" in stated:
        yield "cell.json states that the method had no answer, yet there is a featurizer"
    for name, value in (
        ("method", header.method),
        ("attribute", header.attribute),
        ("site", str(header.site)),
        ("seed", header.seed),
        ("swapped", size),
        ("model_fingerprint", header.target_fingerprint),
        ("instance_fingerprint", header.instance_fingerprint),
    ):
        if stated.get(name) != value:
            yield f"cell.json states {name} {stated.get(name)!r}, featurizer.json {value!r}"


def check_outcomes(
    path: Path, cases: Sequence[object] | None, kind: type[JudgedCase], *, named: bool = False
) -> FoundOutcomes:
    """Check a file of outcomes of a kind, line by line against the cases of its split, where they are known:
    each must be judged once, in order, as the case it is.

    In a file that is `named` templates stand by name; outcomes whose cases are known get their texts back.
    """
    try:
        rows = list(read_jsonl(path))
    except SuiteError as error:
        return FoundOutcomes((), (str(error),))
    found: list[JudgedCase] = []
    if cases is None:
        problems = list(_problems_alone(path, rows, kind, found)) or _unnamed(path, found, named=named)
    else:
        fields = [kind.case_fields(case) for case in cases]
        problems = list(_problems_beside(path, rows, [_said(f, named=named) for f in fields], kind, found))
        if named and not problems:
            found = [_as_cases(o, f) for o, f in zip(found, fields, strict=True)]
    return FoundOutcomes((), tuple(problems[:_MOST])) if problems else FoundOutcomes(tuple(found), ())


_TEMPLATE = "base_template"


def _said(case: dict[str, Any], *, named: bool) -> dict[str, Any]:
    """Return the fields of a case as a file has them."""
    return {**case, _TEMPLATE: template_name(case[_TEMPLATE])} if named else case


def _as_cases(outcome: Any, case: dict[str, Any]) -> JudgedCase:
    known: JudgedCase = replace(outcome, **{_TEMPLATE: case[_TEMPLATE]})
    return known


def _unnamed(path: Path, found: Sequence[JudgedCase], *, named: bool) -> list[str]:
    """Say whether a file has the text of a template where names are due."""
    if not named or all(is_template_name(outcome.base_template) for outcome in found):
        return []
    return [f"{path.name}: the text of a template where its name is due, which begins with sha256"]


def _problems_alone(
    path: Path, rows: Sequence[tuple[int, dict[str, Any]]], kind: type[JudgedCase], found: list[JudgedCase]
) -> Iterator[str]:
    """Say what of the first line that is no outcome is wrong; `found` gets the others."""
    for number, row in rows:
        if problems := _row_problems(row, kind, found, origin=f"{path.name}, line {number}"):
            yield from problems
            return
    if len({outcome.case_id for outcome in found}) < len(found):
        yield f"{path.name}: a {kind.WORD} is judged twice"
    if not rows:
        yield f"{path.name}: no outcome"


def _problems_beside(
    path: Path,
    rows: Sequence[tuple[int, dict[str, Any]]],
    cases: Sequence[dict[str, Any]],
    kind: type[JudgedCase],
    found: list[JudgedCase],
) -> Iterator[str]:
    """Say what of the first line that is not its case's outcome is wrong; `found` gets the others."""
    if len(rows) != len(cases):
        one, many = kind.WORD, f"{len(cases)} {kind.WORD}s"
        yield f"{path.name}: {len(rows)} outcomes for {many}; each {one} must be judged once"
        return
    for (number, row), expected in zip(rows, cases, strict=True):
        problems = _row_problems(row, kind, found, origin=path.name)
        if not problems and kind.case_fields(found[-1]) == expected:
            continue
        yield from problems or [
            f"{path.name}, line {number}: {name} {row.get(name)!r} where {kind.WORD} {expected[kind.ID]} of "
            f"the instance has {value!r}"
            for name, value in expected.items()
            if row.get(name) != value
        ]
        return


def _row_problems(
    row: dict[str, Any], kind: type[JudgedCase], found: list[JudgedCase], *, origin: str
) -> list[str]:
    """Return what of a line is no outcome of its kind; `found` gets the outcome if it is one."""
    try:
        outcome = kind.from_json(row, origin=origin)
    except SuiteError as error:
        problems = [str(error)]
    else:
        found.append(outcome)
        fault = outcome.fault()
        problems = [] if fault is None else [f"{origin}: {fault}"]
    if problems and kind is Outcome:
        # In the words of the schema.
        return schema_problems(row, "outcomes", origin=origin) or problems
    return problems
