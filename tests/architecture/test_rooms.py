"""Each room's purpose, and whom it may import: between rooms, and between a root and its subfolders."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from source_tree import PACKAGES, ROOT, Import, imports, modules
from test_imports import cycle_in

ROOMS: dict[str, tuple[str, ...]] = {
    "config": (),
    "records": (),
    "scoring": ("config", "records"),
    "judging": ("config", "records", "scoring"),
    "tracks": ("config", "records", "scoring", "judging"),
    "report": ("config", "records", "scoring", "tracks"),
    "tuning": ("config", "records"),
    "axbench": ("config", "records", "scoring"),
    "suite": ("config", "records", "scoring", "judging", "tracks", "report"),
    "validity": ("config", "records", "scoring", "judging", "tracks", "report", "suite"),
    "verify": ("config", "records", "scoring", "tracks", "suite"),
    "exchange": ("config", "records", "scoring", "judging", "tracks", "report", "verify"),
    "commands": (
        "config",
        "records",
        "scoring",
        "judging",
        "report",
        "tuning",
        "axbench",
        "suite",
        "validity",
        "verify",
        "exchange",
        "api",
    ),
}
"""Rooms of `evaluation/`, and which other rooms each may import."""
AT_THE_ROOT = {"__init__", "api", "cli"}
MOST_FILES = 16
ONE_FILE_PER_THING = {
    "das/models/families",
    "das/methods/closed_form",
    "das/methods/dictionaries",
    "evaluation/suite/controls",
    "evaluation/tracks",
    "evaluation/commands",
    "ravel/entity_types",
}
"""Folders with a file per registered thing, or per command, which may hold more."""


def room_of(name: str) -> str:
    """Return the second part of an import name of `evaluation`: a room, or a module at the root."""
    return name.split(".")[1] if name.count(".") else "__init__"


def crossings() -> list[Import]:
    """Imports from a room of `evaluation` to another."""
    return [
        found
        for found in imports()
        if found.importer.startswith("evaluation.")
        and found.imported.startswith("evaluation.")
        and room_of(found.importer) != room_of(found.imported)
    ]


def test_nothing_else_lies_at_the_root() -> None:
    names = {path.stem for path in (ROOT / "evaluation").glob("*.py")}
    assert names <= AT_THE_ROOT
    folders = {path.parent.name for path in (ROOT / "evaluation").glob("*/__init__.py")}
    assert folders == set(ROOMS)


def test_rooms_import_only_whom_they_may() -> None:
    wrong = [
        f"{found.importer}, line {found.line} imports {found.imported}"
        for found in crossings()
        if room_of(found.importer) in ROOMS and room_of(found.imported) not in ROOMS[room_of(found.importer)]
    ]
    assert wrong == []


def test_the_table_of_rooms_has_no_cycle() -> None:
    assert cycle_in({"api": set(), **{room: set(allowed) for room, allowed in ROOMS.items()}}) is None


@pytest.mark.parametrize("package", PACKAGES)
def test_no_folder_and_its_subfolders_import_one_another(package: str) -> None:
    """A folder's own files are one node, each of its subfolders another. Only of the root of `evaluation`
    each file is one: `cli` stands above all rooms, and `api` below the commands that call it."""
    folders = {m.name if m.is_package else m.name.rpartition(".")[0] for m in modules()}
    for folder in sorted(f for f in folders if f.split(".")[0] == package):
        graph: dict[str, set[str]] = {}
        for found in imports():
            ends = [_node(name, folder) for name in (found.importer, found.imported)]
            if None in ends or found.typing_only or ends[0] == ends[1]:
                continue
            graph.setdefault(str(ends[0]), set()).add(str(ends[1]))
        nodes = set(graph) | {node for following in graph.values() for node in following}
        assert cycle_in({node: graph.get(node, set()) for node in nodes}) is None, folder


def _node(name: str, folder: str) -> str | None:
    """Return which part of a folder a module is in: a subfolder, or `.` for a file of its own. `evaluation`
    has one file below all its rooms, `api`, and one above, `cli`; each counts for itself."""
    if name != folder and not name.startswith(folder + "."):
        return None
    if folder == "evaluation" and name in ("evaluation.api", "evaluation.cli"):
        return name
    first = name[len(folder) + 1 :].split(".")[0] if name != folder else ""
    if folder == "evaluation" and first in AT_THE_ROOT:
        return first
    return first if first and (ROOT / folder.replace(".", "/") / first).is_dir() else "."


def test_no_folder_is_crowded() -> None:
    counted = Counter(path.parent.relative_to(ROOT).as_posix() for path in _files())
    crowded = {f: n for f, n in counted.items() if n > MOST_FILES and f not in ONE_FILE_PER_THING}
    assert crowded == {}


def _files() -> list[Path]:
    return [module.path for module in modules()]
