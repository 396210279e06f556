"""Make a versioned task of an instance that was built: its settings, and the hashes that fix it.

    python scripts/new_task.py NAME-v1 INSTANCE --summary TEXT [--data bundled|release --facts FOLDER]

The file goes to `evaluation/config/tasks/`, where no version is ever changed: give a new one its own name.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from evaluation.config.task import Task, rules_sha256  # noqa: E402
from ravel.building.config import BuildConfig  # noqa: E402
from ravel.common.strict_yaml import to_yaml  # noqa: E402
from ravel.facts.sources import open_tables  # noqa: E402
from ravel.instance import Instance  # noqa: E402

TASKS = ROOT / "evaluation" / "config" / "tasks"


def task_values(instance: Instance, summary: str, data: str, facts: str) -> dict[str, Any]:
    """Return what a task's file says, without what is as a task has it by itself. `facts` is where the facts
    lie here."""
    build = BuildConfig.from_mapping(dict(instance.manifest.config), origin="the instance")
    plain, usual = build.model_dump(mode="json"), BuildConfig().model_dump(mode="json")
    return {
        "summary": summary,
        "entity_type": instance.entity_type,
        "data": data,
        "build": {name: value for name, value in plain.items() if value != usual.get(name)},
        "model": instance.model_name,
        "facts_sha256": open_tables(facts, instance.entity_type).fingerprint,
        "rules_sha256": rules_sha256(build),
        "instance_fingerprint": instance.fingerprint,
    }


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description="Make a versioned task of an instance that was built.")
    parser.add_argument("name")
    parser.add_argument("instance", type=Path)
    parser.add_argument("--summary", required=True)
    parser.add_argument("--data", choices=("bundled", "release"), default="bundled")
    parser.add_argument("--facts", help="where the facts of the release lie")
    asked = parser.parse_args()
    path = TASKS / f"{asked.name}.yaml"
    if not re.fullmatch(r"[a-z0-9-]+-v\d+", asked.name) or path.exists():
        raise SystemExit(f"{asked.name}: a new name in small letters that ends in -v and a number")
    values = task_values(Instance.load(asked.instance), asked.summary, asked.data, asked.facts or asked.data)
    text = to_yaml(values, width=10_000)
    Task.from_yaml(text, origin=asked.name)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
