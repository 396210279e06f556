"""Checks of single files: against their schema, of a featurizer with its cell, of outcomes against pairs;
they know no grid and no run.

Each returns what is wrong in words; nothing is raised for what a file says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from das.featurizers.base import Featurizer
from das.featurizers.storage import FeaturizerHeader, load_featurizer
from das.featurizers.tensor_file import check_tensor_file
from evaluation.records.scores import Outcome
from ravel.common.errors import SuiteError
from ravel.common.io import canonical_json, read_json, read_jsonl, sha256_text
from ravel.common.schemas import schema_problems, schema_problems_of_rows
from ravel.terms.schema import InterchangePair

__all__ = [
    "FoundFeaturizer",
    "FoundOutcomes",
    "check_cell_file",
    "check_featurizer",
    "check_outcomes",
    "errors_of",
    "json_problems",
    "lines_problems",
]

_NOT_HASHED = ("cell", "swapped", "refused", "batches")
_MOST = 5
"""Problems of one file that are named."""


@dataclass(frozen=True, slots=True)
class FoundFeaturizer:
    """A featurizer's folder, as far as it can be read."""

    featurizer: Featurizer | None
    """None where it can't be."""
    header: FeaturizerHeader | None
    """None where it can't be."""
    problems: tuple[str, ...]
    """What is wrong."""


@dataclass(frozen=True, slots=True)
class FoundOutcomes:
    """A file of outcomes, as far as it can be read."""

    outcomes: tuple[Outcome, ...]
    """None of them where a line is wrong."""
    problems: tuple[str, ...]
    """What is wrong."""


def errors_of(check: Callable[[], object]) -> list[str]:
    """Return the message of the SuiteError that a check raises; nothing where it raises none."""
    try:
        check()
    except SuiteError as error:
        return [str(error)]
    return []


def json_problems(path: Path, schema: str) -> list[str]:
    """Return what of a JSON file does not fit its schema."""
    try:
        return schema_problems(read_json(path), schema, origin=path.name)
    except SuiteError as error:
        return [str(error)]


def lines_problems(path: Path, schema: str) -> list[str]:
    """Return what of the first line that does not fit its schema is wrong."""
    try:
        return schema_problems_of_rows(read_jsonl(path), schema, origin=path.name)
    except SuiteError as error:
        return [str(error)]


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
        featurizer, header = load_featurizer(
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


def check_outcomes(path: Path, pairs: Sequence[InterchangePair] | None) -> FoundOutcomes:
    """Check a file of outcomes, line by line against the pairs of its split, where they are known: each pair
    must be judged once, in order, as the pair it is."""
    try:
        rows = list(read_jsonl(path))
    except SuiteError as error:
        return FoundOutcomes((), (str(error),))
    problems = _problems_alone(path, rows) if pairs is None else list(_problems_beside(path, rows, pairs))
    if problems:
        return FoundOutcomes((), tuple(problems[:_MOST]))
    return FoundOutcomes(tuple(Outcome(**row) for _, row in rows), ())


def _problems_alone(path: Path, rows: Sequence[tuple[int, dict[str, Any]]]) -> list[str]:
    problems = schema_problems_of_rows(rows, "outcomes", origin=path.name)
    if not problems and len({row["pair_id"] for _, row in rows}) < len(rows):
        problems = [f"{path.name}: a pair is judged twice"]
    return problems if rows else [f"{path.name}: no outcome"]


def _problems_beside(
    path: Path, rows: Sequence[tuple[int, dict[str, Any]]], pairs: Sequence[InterchangePair]
) -> Iterator[str]:
    if len(rows) != len(pairs):
        yield f"{path.name}: {len(rows)} outcomes for {len(pairs)} pairs; each pair must be judged once"
        return
    for (number, row), pair in zip(rows, pairs, strict=True):
        expected = _expected(pair)
        said = (row.get("said_swapped"), row.get("said_unchanged"))
        told = {name: value for name, value in row.items() if name not in ("said_swapped", "said_unchanged")}
        # Equal to the pair, and two flags that are never both true: then it fits the schema as well.
        if told == expected and said in _FLAGS and all(isinstance(flag, bool) for flag in said):
            continue
        origin = f"{path.name}, line {number}"
        yield from schema_problems(row, "outcomes", origin=path.name) or [
            f"{origin}: {name} {row.get(name)!r} where pair {pair.pair_id} of the instance has {value!r}"
            for name, value in expected.items()
            if row.get(name) != value
        ]
        return


_FLAGS = ((False, False), (True, False), (False, True))


def _expected(pair: InterchangePair) -> dict[str, Any]:
    return {
        "pair_id": pair.pair_id,
        "attribute": pair.attribute,
        "base_template": pair.base_template,
        "base_entity": pair.base_entity,
        "source_entity": pair.source_entity,
        "source_kind": pair.source_kind,
    }
