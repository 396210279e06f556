"""Checks an instance, a featurizer, a run or a submission and says what is wrong; it runs no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evaluation.verify.checks.files import check_cell_file, check_featurizer, json_problems, lines_problems
from evaluation.verify.run import check_run
from evaluation.verify.submission.check import check_submission
from evaluation.verify.submission.names import MANIFEST
from evaluation.verify.submission.unpack import is_archive, opened
from ravel.checking.leaks import LEAK_CHECKS, Leak, find_leaks
from ravel.common.errors import SuiteError
from ravel.instance import Instance, verify_instance

Kind = Literal["instance", "featurizer", "run", "submission"]

MARKS: Mapping[str, Kind] = {
    MANIFEST: "submission",
    "config.yaml": "run",
    "manifest.json": "instance",
    "featurizer.json": "featurizer",
}
"""The file that tells what a folder holds; the first that is there counts."""


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


def verify_artefact(path: Path, instance: Path | None = None) -> Verification:
    """Check what `ravel build`, `fit`, `run` or `submit` wrote, a submission also as a zip.

    With `instance`, outcomes of a submission are held against its pairs. Raises SuiteError if `path` is
    none of these, and if the instance can't be read.
    """
    kind = _kind_of(path)
    if (instance is not None) and kind != "submission":
        raise SuiteError(
            expected="--instance for a submission only",
            came=f"the folder of {'an' if kind == 'instance' else 'a'} {kind}",
            todo="leave it out: a run has its own instance",
        )
    known = None if instance is None else Instance.load(instance)
    checks: dict[Kind, Callable[[Path], _Found]] = {
        "instance": _check_instance,
        "featurizer": _check_featurizer,
        "run": _check_run,
        "submission": lambda found_at: _check_submission(found_at, known),
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
    if is_archive(path):
        return "submission"
    for mark, kind in MARKS.items():
        if (path / mark).is_file():
            return kind
    raise SuiteError(
        expected=f"the folder of an instance, a featurizer, a run or a submission at {path}, or a .zip",
        came=f"a folder without {', '.join(MARKS)}" if path.is_dir() else "no folder there",
        todo="give a folder written by ravel build, ravel fit, ravel run or ravel submit",
    )


def _check_instance(path: Path) -> _Found:
    problems = verify_instance(path) or _instance_schemas(path)
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


def _instance_schemas(path: Path) -> list[str]:
    # Pairs are equal to what their prompts say, field by field, or the instance would not have been read.
    return [
        *json_problems(path / "manifest.json", "manifest"),
        *lines_problems(path / "prompts.jsonl", "prompts"),
    ]


def _check_featurizer(path: Path) -> _Found:
    found = check_featurizer(path)
    if found.header is None or found.featurizer is None:
        return _Found(list(found.problems), [])
    header, featurizer, cell = found.header, found.featurizer, path / "cell.json"
    notes = [
        f"{featurizer.kind} of size {featurizer.size} in width {featurizer.width}, found by {header.method} "
        f"for {header.attribute} at {header.site}",
        f"target model {header.model} ({header.target_fingerprint[:12]}), "
        f"instance {header.instance_fingerprint[:12]}",
    ]
    return _Found(check_cell_file(cell, header, featurizer.size) if cell.is_file() else [], notes)


def _check_run(path: Path) -> _Found:
    problems = verify_instance(path / "instance") or _instance_schemas(path / "instance")
    if problems:
        return _Found(problems, [])
    instance = Instance.load(path / "instance")
    problems, notes = check_run(path, instance)
    return _Found(problems, notes, find_leaks(instance))


def _check_submission(path: Path, instance: Instance | None) -> _Found:
    try:
        with opened(path) as folder:
            found = check_submission(folder, instance)
    except SuiteError as error:
        return _Found([str(error)], [])
    unread = "no instance was given: its pairs and attributes were not compared (--instance)"
    return _Found(list(found.problems), [*found.notes, *([] if instance else [unread])])
