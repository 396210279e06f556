"""The instance of a versioned task, built anew and held against the hashes that the task states."""

from __future__ import annotations

from pathlib import Path

from evaluation.config.task import Task, rules_sha256, task_named
from evaluation.suite.folders import build_folder
from ravel.common.errors import SuiteError
from ravel.common.folders import check_new_folder
from ravel.common.io import remove_folder
from ravel.common.progress import Progress, silent
from ravel.facts.sources import open_tables
from ravel.instance import Instance

_RELEASE = "release"


def make_task(name: str, out: Path, progress: Progress = silent, *, data: str = "") -> Instance:
    """Build the instance of a task in the new folder `out`; `data` says where its facts lie, if not where the
    task says.

    Raises SuiteError for an unknown task and a folder that is taken, and before the model is loaded where
    facts or rules are not those of the task. If what was built has another fingerprint than the task states,
    it is removed and SuiteError raised: scores on it would not be comparable.
    """
    task = task_named(name)
    source = data or task.data
    if source == _RELEASE:
        raise SuiteError(
            expected=f"--data with the official release, of which {name} is made",
            came="none",
            todo="give its folder or data.tgz; docs/how-to/use-the-official-release.md says where it is",
        )
    check_fixed(name, task, source)
    check_new_folder(out)
    instance = build_folder(source, task.entity_type, task.target(), task.build_config(), out, progress)
    if instance.fingerprint != task.instance_fingerprint:
        remove_folder(out)
        raise SuiteError(
            expected=f"the instance of {name}, {task.instance_fingerprint}",
            came=f"{instance.fingerprint}, from the same facts and rules, with a model of fingerprint "
            f"{instance.model_fingerprint}",
            todo="fetch the model again with `ravel model fetch`; if it is the right one, this machine's "
            "libraries round otherwise: take the instance from somebody who has it, with `ravel pull`",
        )
    return instance


def check_fixed(name: str, task: Task, data: str) -> None:
    """Raise SuiteError where the rules of a build, or the facts at `data`, are not those that the task
    states."""
    for what, stated, found in (
        ("rules of a build", task.rules_sha256, rules_sha256(task.build_config())),
        ("facts", task.facts_sha256, open_tables(data, task.entity_type).fingerprint),
    ):
        if stated != found:
            raise SuiteError(
                expected=f"the {what} of {name}, {stated}",
                came=found,
                todo="take the release of ravel-bench that the task came with, or a later version of it",
            )
