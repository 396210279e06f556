"""Make a versioned task of an instance that was built, or of a submission that names one: its settings, and
the hashes that fix it.

    python scripts/new_task.py NAME-v1 SOURCE --summary TEXT [--data bundled|release --facts FOLDER]

The file goes to `evaluation/config/tasks/`, where no version is ever changed: give a new one its own name.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from evaluation.config.task import Task, rules_sha256  # noqa: E402
from evaluation.verify.submission.manifest import read_submission  # noqa: E402
from evaluation.verify.submission.unpack import is_submission, opened  # noqa: E402
from ravel.building.config import BuildConfig  # noqa: E402
from ravel.common.strict_yaml import to_yaml  # noqa: E402
from ravel.facts.sources import open_tables  # noqa: E402
from ravel.instance import Instance  # noqa: E402

TASKS = ROOT / "evaluation" / "config" / "tasks"


class Built(NamedTuple):
    """What a task takes of an instance."""

    entity_type: str
    build: BuildConfig
    model: str
    fingerprint: str


def of_instance(folder: Path) -> Built:
    """Return what an instance says of itself."""
    found = Instance.load(folder)
    config = BuildConfig.from_mapping(dict(found.manifest.config), origin="the instance")
    return Built(found.entity_type, config, found.model_name, found.fingerprint)


def of_submission(path: Path) -> Built:
    """Return what a submission says of its instance."""
    with opened(path) as folder:
        found = read_submission(folder)
    config = BuildConfig.from_mapping(dict(found.build), origin="the submission")
    return Built(found.entity_type, config, found.model_name, found.instance_fingerprint)


def task_values(built: Built, summary: str, data: str, facts: str) -> dict[str, Any]:
    """Return what a task's file says, without what is as a task has it by itself. `facts` is where the facts
    lie here."""
    plain, usual = built.build.model_dump(mode="json"), BuildConfig().model_dump(mode="json")
    return {
        "summary": summary,
        "entity_type": built.entity_type,
        "data": data,
        "build": {name: value for name, value in plain.items() if value != usual.get(name)},
        "model": built.model,
        "facts_sha256": open_tables(facts, built.entity_type).fingerprint,
        "rules_sha256": rules_sha256(built.build),
        "instance_fingerprint": built.fingerprint,
    }


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description="Make a versioned task of an instance that was built.")
    parser.add_argument("name")
    parser.add_argument("source", type=Path, help="the instance's folder, or the submission")
    parser.add_argument("--summary", required=True)
    parser.add_argument("--data", choices=("bundled", "release"), default="bundled")
    parser.add_argument("--facts", help="where the facts of the release lie")
    asked = parser.parse_args()
    path = TASKS / f"{asked.name}.yaml"
    if not re.fullmatch(r"[a-z0-9-]+-v\d+", asked.name) or path.exists():
        raise SystemExit(f"{asked.name}: a new name in small letters that ends in -v and a number")
    read = of_submission if is_submission(asked.source) else of_instance
    values = task_values(read(asked.source), asked.summary, asked.data, asked.facts or asked.data)
    text = to_yaml(values, width=10_000)
    Task.from_yaml(text, origin=asked.name)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
