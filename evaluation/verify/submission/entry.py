"""Whether a submission may be added to a folder of kept ones: all that a reviewer asks, without a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from evaluation.config.task import task_of_instance
from evaluation.verify.submission.check import CheckedSubmission, check_submission
from evaluation.verify.submission.manifest import Submission, read_submission
from evaluation.verify.submission.names import MANIFEST
from evaluation.verify.submission.unpack import is_submission, opened
from ravel.common.errors import SuiteError

MOST_BYTES = 10 << 20
"""What an entry may weigh: a board is cloned by everybody who joins it."""


@dataclass(frozen=True, slots=True)
class CheckedEntry:
    """What a reviewer would say."""

    path: Path
    """Where it lies."""
    problems: tuple[str, ...]
    """What has to be mended, a sentence each; empty if it may be added."""
    notes: tuple[str, ...]
    """What it holds, and what is left to do with the model."""

    @property
    def sound(self) -> bool:
        """True if it may be added."""
        return not self.problems


def check_entry(path: Path, beside: Path | None = None) -> CheckedEntry:
    """Check a submission, and hold it against those that lie in the folder `beside`, by default its own.

    Nothing is raised for what a stranger wrote; SuiteError only where there is no submission at `path`.
    """
    if not is_submission(path):
        raise SuiteError(
            expected=f"a submission at {path}: a .zip, or a folder with {MANIFEST}",
            came="none",
            todo="make one with `ravel submit RUN --out ENTRY --name NAME --author YOU`",
        )
    with opened(path) as unpacked:
        checked = check_submission(unpacked)
        weight = sum(file.stat().st_size for file in unpacked.rglob("*") if file.is_file())
    problems = list(checked.problems)
    if path.is_file():
        weight = path.stat().st_size
    if weight > MOST_BYTES:
        problems.append(
            f"it weighs {weight / 2**20:.1f} MiB, of {MOST_BYTES >> 20} MiB at most: submit fewer methods "
            "with --method, and as a .zip"
        )
    if checked.submission is not None:
        problems += _wishes(checked, checked.submission)
        problems += _doubles(checked.submission, path, path.resolve().parent if beside is None else beside)
    return CheckedEntry(path, tuple(problems), (*checked.notes, *_next_steps(path, checked)))


def _wishes(checked: CheckedSubmission, submission: Submission) -> Iterator[str]:
    if not submission.authors:
        yield "nobody is named who made it: submit it again with --author"
    if not submission.description:
        yield "nothing says what was done: submit it again with --description"
    if not submission.names_templates:
        yield "outcomes have the texts of templates, as before version 2: submit the run again"
    if not checked.problems and not checked.claims:
        yield "it claims no score: submit a finished run"


def _doubles(submission: Submission, path: Path, beside: Path) -> Iterator[str]:
    for other in sorted(beside.iterdir()):
        if other.resolve() == path.resolve() or not is_submission(other):
            continue
        try:
            with opened(other) as unpacked:
                known = read_submission(unpacked)
        except SuiteError:
            # What is wrong with others is told where they are checked.
            continue
        if known.name == submission.name:
            yield f"{other.name} is called {known.name!r} too: submit it under another --name"
        if known.fingerprint == submission.fingerprint:
            yield f"{other.name} is the same submission"


def _next_steps(path: Path, checked: CheckedSubmission) -> tuple[str, ...]:
    if checked.submission is None or checked.problems:
        return ()
    model = checked.submission.model_name
    task = task_of_instance(checked.submission.instance_fingerprint)
    instance = "INSTANCE" if task is None else task
    told = () if task is None else (f"it enters the task {task}: ravel task {task} --out {task}",)
    return (
        *told,
        f"with the model: ravel score-submission {path} --instance {instance} --model {model} --out VERDICT, "
        "and then ravel site with --verdict VERDICT",
    )
