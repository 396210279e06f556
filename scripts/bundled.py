"""Shared helpers of the scripts that build the data under ``data/``."""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SOURCES = Path(__file__).resolve().parent / "sources"
FREE_SECTION = "free"

Files = dict[str, str]


def read_source(name: str) -> str:
    """Read a text beside the scripts."""
    return (SOURCES / name).read_text(encoding="utf-8")


def partition_labels(count: int) -> list[str]:
    """Return ``count`` partition names, 50/25/25 train/val/test to within one item."""
    val = (count + 2) // 4
    test = count // 4
    return ["train"] * (count - val - test) + ["val"] * val + ["test"] * test


def assign_partitions(items: Sequence[str], seed: str) -> dict[str, str]:
    """Assign every item a partition from a seeded shuffle of the sorted items."""
    shuffled = sorted(items)
    random.Random(seed).shuffle(shuffled)
    return dict(zip(shuffled, partition_labels(len(shuffled)), strict=True))


def read_templates(path: Path) -> dict[str, list[str]]:
    """Read ``[section]`` headed templates; a backslash followed by n is a line break."""
    sections: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("# One template"):
            continue
        if line.startswith("[") and line.endswith("]"):
            current = sections.setdefault(line[1:-1], [])
        elif current is None:
            raise ValueError(f"{path}: template before the first section: {line!r}")
        else:
            current.append(line.replace("\\n", "\n"))
    return sections


def template_rows(sections: Mapping[str, Sequence[str]], seed: str) -> list[dict[str, Any]]:
    """Build the rows of templates.jsonl, partitioned within each section."""
    rows: list[dict[str, Any]] = []
    for section, templates in sections.items():
        partitions = assign_partitions(templates, f"{seed}/{section}")
        attribute = None if section == FREE_SECTION else section
        rows.extend(
            {
                "attribute": attribute,
                "entity": None,
                "partition": partitions[template],
                "template": template,
            }
            for template in templates
        )
    return rows


def entity_rows(values: Mapping[str, Mapping[str, str]], seed: str) -> list[dict[str, Any]]:
    """Build the rows of entities.jsonl in alphabetical order."""
    partitions = assign_partitions(list(values), f"{seed}/entities")
    return [
        {"entity": name, "partition": partitions[name], "values": dict(values[name])}
        for name in sorted(values)
    ]


def to_jsonl(rows: Sequence[Mapping[str, Any]]) -> str:
    """Serialise rows as JSON Lines with sorted keys."""
    return "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows)


def partition_table(groups: Mapping[str, Sequence[str]]) -> str:
    """Render a Markdown table of partition counts per group."""
    lines = ["| group | total | train | val | test |", "|---|---|---|---|---|"]
    for name, partitions in groups.items():
        c = Counter(partitions)
        lines.append(f"| {name} | {len(partitions)} | {c['train']} | {c['val']} | {c['test']} |")
    return "\n".join(lines)


def counts_section(entities: Sequence[Mapping[str, Any]], templates: Sequence[Mapping[str, Any]]) -> str:
    """Render the counts of a type: partitions, and distinct values per attribute."""
    groups: dict[str, list[str]] = {"entities": [row["partition"] for row in entities]}
    for row in templates:
        name = row["attribute"] or "attribute-free texts"
        groups.setdefault(f"templates: {name}", []).append(row["partition"])
    lines = ["| attribute | distinct values | commonest value | its share |", "|---|---|---|---|"]
    for attribute in entities[0]["values"]:
        counts = Counter(row["values"][attribute] for row in entities)
        value, number = min(counts.items(), key=lambda kv: (-kv[1], kv[0]))
        lines.append(f"| {attribute} | {len(counts)} | {value} | {number / len(entities):.3f} |")
    return partition_table(groups) + "\n\n" + "\n".join(lines)


def with_checksums(files: Files) -> Files:
    """Add checksums.json, the SHA-256 of every other file."""
    sums = {name: hashlib.sha256(text.encode("utf-8")).hexdigest() for name, text in files.items()}
    return {**files, "checksums.json": json.dumps(sums, indent=1, sort_keys=True) + "\n"}


def differing(folder: Path, files: Files) -> list[str]:
    """Name the files in ``folder`` that are missing or differ from ``files``."""
    return [
        name
        for name, text in files.items()
        if not (folder / name).is_file() or (folder / name).read_bytes() != text.encode("utf-8")
    ]


def write(folder: Path, files: Files) -> None:
    """Write ``files`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_bytes(text.encode("utf-8"))


def main(type_name: str, build: Callable[[], Files], argv: Sequence[str] | None = None) -> int:
    """Write the files of one type, or with ``--check`` compare them with a fresh build."""
    parser = argparse.ArgumentParser(description=f"Build data/{type_name}.")
    parser.add_argument("--check", action="store_true", help="rebuild in memory; exit 1 if a file differs")
    check: bool = parser.parse_args(argv).check
    folder = ROOT / "data" / type_name
    files = with_checksums(build())
    if not check:
        write(folder, files)
        print(f"wrote {len(files)} files of type {type_name}")
        return 0
    wrong = differing(folder, files)
    for name in wrong:
        print(f"differs: data/{type_name}/{name}")
    if not wrong:
        print(f"data/{type_name} is up to date ({len(files)} files)")
    return 1 if wrong else 0
