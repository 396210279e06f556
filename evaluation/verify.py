"""Checks an instance, a featurizer or a run on disk and says what is wrong; it runs no model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from das.featurizers.storage import FeaturizerHeader, load_featurizer
from evaluation.metrics import scores
from evaluation.plan import SuiteConfig
from evaluation.records import ScoreRecord, read_scores
from evaluation.runs import CellFolder, RunFolder
from ravel.common.errors import SuiteError
from ravel.common.io import canonical_json, read_json, sha256_text
from ravel.instance import Instance, verify_instance
from ravel.leaks import LEAK_CHECKS, Leak, find_leaks
from ravel.schema import split_name

__all__ = ["MARKS", "Kind", "Verification", "leak_rows", "verify_artefact"]

Kind = Literal["instance", "featurizer", "run"]

MARKS: Mapping[str, Kind] = {
    "config.yaml": "run",
    "manifest.json": "instance",
    "featurizer.json": "featurizer",
}
"""The file that tells what a folder holds; the first that is there counts."""
_NOT_HASHED = ("cell", "swapped", "refused")


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found."""

    path: Path
    """The folder that was checked."""
    kind: Kind
    """What it holds."""
    problems: tuple[str, ...]
    """What is wrong, in words; empty if all is well."""
    notes: tuple[str, ...]
    """What is there, and what is merely unfinished."""
    leaks: tuple[Leak, ...] | None = None
    """What the leak checks found in the instance; an error is among the problems as well. None where none was
    read: a featurizer has no instance, and a damaged one is not looked at."""

    @property
    def sound(self) -> bool:
        """True if nothing is wrong."""
        return not self.problems


def verify_artefact(path: Path) -> Verification:
    """Check a folder written by `ravel build`, `fit` or `run`. Raises SuiteError if it is none of these."""
    kind = _kind_of(path)
    checks: dict[Kind, Callable[[Path], _Found]] = {
        "instance": _check_instance,
        "featurizer": _check_featurizer,
        "run": _check_run,
    }
    found = checks[kind](path)
    errors = [leak.text for leak in found.leaks or () if leak.severity == "error"]
    return Verification(path, kind, (*found.problems, *errors), tuple(found.notes), found.leaks)


def leak_rows(found: Verification) -> list[dict[str, Any]]:
    """Return every leak check with what it found, zeros included; no row where no instance was read.

    `of` is what the check is about, None where it found nothing.
    """
    if found.leaks is None:
        return []
    by_kind = {leak.kind: leak for leak in found.leaks}
    rows: list[dict[str, Any]] = []
    for check in LEAK_CHECKS:
        leak = by_kind.get(check.kind)
        rows.append(
            {
                "check": check.kind,
                "severity": check.severity,
                "count": 0 if leak is None else leak.count,
                "of": None if leak is None else leak.of,
                "unit": check.unit,
                "meaning": check.meaning,
            }
        )
    return rows


@dataclass(frozen=True, slots=True)
class _Found:
    """What a check of one kind of folder gives back."""

    problems: list[str]
    notes: list[str]
    leaks: tuple[Leak, ...] | None = None


def _kind_of(path: Path) -> Kind:
    for mark, kind in MARKS.items():
        if (path / mark).is_file():
            return kind
    raise SuiteError(
        expected=f"the folder of an instance, a featurizer or a run at {path}",
        came=f"a folder without {', '.join(MARKS)}" if path.is_dir() else "no folder there",
        todo="give a folder written by ravel build, ravel fit or ravel run",
    )


def _check_instance(path: Path) -> _Found:
    problems = verify_instance(path)
    if problems:
        return _Found(problems, [])
    instance = Instance.load(path)
    counts = ", ".join(f"{split} {len(instance.pairs(split))}" for split in instance.splits())
    notes = [
        f"{instance.entity_type} for {instance.model_name}, attributes {', '.join(instance.attributes)}",
        f"pairs: {counts}",
        f"fingerprint {instance.fingerprint}",
    ]
    return _Found([], notes, find_leaks(instance))


def _check_featurizer(path: Path) -> _Found:
    try:
        featurizer, header = load_featurizer(path)
    except SuiteError as error:
        return _Found([str(error)], [])
    notes = [
        f"{featurizer.kind} of size {featurizer.size} in width {featurizer.width}, found by {header.method} "
        f"for {header.attribute} at {header.site}",
        f"target model {header.model} ({header.target_fingerprint[:12]}), "
        f"instance {header.instance_fingerprint[:12]}",
    ]
    return _Found(_cell_file_problems(CellFolder(path), header), notes)


def _check_run(path: Path) -> _Found:
    run = RunFolder(path)
    problems = [*_errors_of(lambda: SuiteConfig.from_file(run.config)), *verify_instance(run.instance)]
    if problems:
        return _Found(problems, [])
    instance = Instance.load(run.instance)
    problems += _fingerprint_problems(run, instance)
    cells = [CellFolder(folder) for folder in sorted(run.path.glob("cells/*")) if folder.is_dir()]
    finished = [cell for cell in cells if cell.finished()]
    for cell in finished:
        problems += _run_cell_problems(cell, run, instance)
    recorded, problems_of_scores = _score_problems(run, instance)
    notes = [
        f"{len(finished)} finished cells, {len(cells) - len(finished)} unfinished",
        f"{recorded} score records" if run.scores.is_file() else "no scores yet: the run is not finished",
    ]
    return _Found([*problems, *problems_of_scores], notes, find_leaks(instance))


def _errors_of(check: Callable[[], object]) -> list[str]:
    try:
        check()
    except SuiteError as error:
        return [str(error)]
    return []


def _fingerprint_problems(run: RunFolder, instance: Instance) -> list[str]:
    try:
        stated = read_json(run.environment)
    except SuiteError as error:
        return [str(error)]
    expected = {
        "instance_fingerprint": instance.fingerprint,
        "model_fingerprint": instance.model_fingerprint,
    }
    return [
        f"{run.environment.name} states {name} {stated.get(name)}, the instance gives {value}"
        for name, value in expected.items()
        if stated.get(name) != value
    ]


def _run_cell_problems(cell: CellFolder, run: RunFolder, instance: Instance) -> list[str]:
    problems: list[str] = []
    if _is_refused(cell):
        return []
    try:
        _, header = load_featurizer(
            cell.path,
            target_fingerprint=instance.model_fingerprint,
            instance_fingerprint=instance.fingerprint,
        )
        problems += _cell_file_problems(cell, header)
    except SuiteError as error:
        problems.append(str(error))
    for path in sorted(cell.path.glob("outcomes/*.jsonl")):
        problems += _errors_of(partial(_read_outcomes, cell, path.stem, instance))
    return [f"cell {cell.path.name}: {problem}" for problem in problems]


def _is_refused(cell: CellFolder) -> bool:
    stated = read_json(cell.header)
    return isinstance(stated, dict) and isinstance(stated.get("refused"), str)


def _read_outcomes(cell: CellFolder, split: str, instance: Instance) -> None:
    cell.read_outcomes(split, len(instance.pairs(split)))


def _cell_file_problems(cell: CellFolder, header: FeaturizerHeader) -> list[str]:
    if not cell.finished():
        return []
    try:
        stated = read_json(cell.header)
    except SuiteError as error:
        return [str(error)]
    if not isinstance(stated, dict):
        return [f"cell.json holds a {type(stated).__name__}"]
    return list(_disagreements(stated, header))


def _disagreements(stated: Mapping[str, Any], header: FeaturizerHeader) -> Iterator[str]:
    """Compare what `cell.json` states with its own hash and with the featurizer's header."""
    parts = {name: value for name, value in stated.items() if name not in _NOT_HASHED}
    if stated.get("cell") != sha256_text(canonical_json(parts))[:16]:
        yield f"cell.json states the id {stated.get('cell')}, which is not the hash of what it says"
    for name, value in (
        ("method", header.method),
        ("attribute", header.attribute),
        ("site", str(header.site)),
        ("seed", header.seed),
        ("model_fingerprint", header.target_fingerprint),
        ("instance_fingerprint", header.instance_fingerprint),
    ):
        if stated.get(name) != value:
            yield f"cell.json states {name} {stated.get(name)!r}, featurizer.json {value!r}"


def _score_problems(run: RunFolder, instance: Instance) -> tuple[int, list[str]]:
    """Compare every score with the one that its outcomes give."""
    if not run.scores.is_file():
        return 0, []
    try:
        records = read_scores(run.scores)
    except SuiteError as error:
        return 0, [str(error)]
    problems = []
    for (cell_id, split), group in _by_outcomes(records).items():
        problems += _group_problems(run.cell(cell_id), split, group, instance)
    return len(records), problems


def _by_outcomes(records: Sequence[ScoreRecord]) -> dict[tuple[str, str], list[ScoreRecord]]:
    groups: dict[tuple[str, str], list[ScoreRecord]] = {}
    for record in records:
        groups.setdefault((record.cell, split_name(record.generalisation, record.partition)), []).append(
            record
        )
    return groups


def _group_problems(
    cell: CellFolder, split: str, group: Sequence[ScoreRecord], instance: Instance
) -> list[str]:
    try:
        outcomes = cell.read_outcomes(split, len(instance.pairs(split)))
    except SuiteError as error:
        return [f"scores.jsonl, cell {cell.path.name}: {error}"]
    problems = []
    for record in group:
        counted = [o for o in outcomes if record.source_kind in ("all", o.source_kind)]
        found = scores(counted, record.attribute)
        stated = (record.cause, record.isolate, record.disentangle, record.n_cause, record.n_isolate)
        if stated != (found.cause, found.isolate, found.disentangle, found.n_cause, found.n_isolate):
            problems.append(
                f"scores.jsonl, cell {cell.path.name}, {record.attribute}, {split}: cause and isolate "
                f"{record.cause}, {record.isolate}, the outcomes give {found.cause}, {found.isolate}"
            )
    return problems
