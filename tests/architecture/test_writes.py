"""Files of results are written through one module, which lets them outlast a power cut."""

from __future__ import annotations

import ast
from pathlib import Path

from source_tree import Module, modules

SEAM = "ravel.common.durable"
EXCEPTIONS = {
    ("das.dictionary_training.gathered", "save_file"): "inside `write_with`",
    ("das.engine.kept.disk_cache", "save_file"): "a cache, in which checksums show what a power cut damaged",
    ("das.engine.kept.disk_cache", "mkstemp"): "as above",
    ("das.engine.kept.disk_cache", "replace"): "as above",
    ("das.engine.kept.disk_cache", "unlink"): "as above",
    ("das.models.fetching.wheels", "open"): "inside `write_with`",
    ("das.models.planted.world", "save_file"): "into a new folder, which is brought to the disk as a whole",
    ("evaluation.suite.cells.stored_vectors", "save_file"): "inside `write_with`",
    ("evaluation.exchange.hub.client", "rmtree"): "of what was fetched and refused",
    ("evaluation.records.lock", "rmdir"): "of a folder that was made for a lock and stayed empty",
    ("evaluation.records.lock", "unlink"): "of the lock, which is no result",
    (
        "evaluation.exchange.submission.pack",
        "mkdir",
    ): "in a new folder, which is brought to the disk as a whole",
    ("evaluation.verify.submission.unpack", "mkdir"): "in a temporary folder, which goes after the check",
    ("evaluation.verify.submission.unpack", "open"): "as above",
    ("ravel.common.io", "write_bytes"): "inside `write_with`",
}
"""Calls that change files outside the seam, each with its reason."""
NAMES = {"save_file", "mkstemp", "mkdtemp", "rmtree", "unlink", "rmdir", "fsync", "NamedTemporaryFile"}
METHODS = {"write_bytes", "write_text", "unlink", "rename", "rmdir", "mkdir", "touch"}
FILE_WRITERS = {"json.dump", "yaml.dump", "yaml.safe_dump", "np.save", "np.savez"}


def changes_of(module: Module) -> set[str]:
    """Return the names of calls in a module that change files by themselves."""
    found = set()
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        method = isinstance(node.func, ast.Attribute)
        if name in NAMES or (method and name in METHODS):
            found.add(name)
        elif name == "open" and _opens_to_write(node):
            found.add("open")
        elif name == "replace" and method and len(node.args) == 1 and not node.keywords:
            # With one argument it is that of a path; text takes two, records take keywords.
            found.add("replace")
        elif ast.unparse(node.func) in FILE_WRITERS and len(node.args) > 1:
            found.add(name)
    return found


def _opens_to_write(node: ast.Call) -> bool:
    values = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
    modes = [v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str)]
    return any(len(mode) <= 3 and set(mode) & set("wax+") for mode in modes)


def test_files_are_changed_through_the_seam_only() -> None:
    found = {(m.name, name) for m in modules() if m.name != SEAM for name in changes_of(m)}
    assert found - EXCEPTIONS.keys() == set()
    assert EXCEPTIONS.keys() - found == set()


def test_the_finder_finds_writes() -> None:
    texts = {
        "path.open('w')": "open",
        "open(p, mode='ab')": "open",
        "a.replace(b)": "replace",
        "p.write_text('x')": "write_text",
        "shutil.rmtree(p)": "rmtree",
        "json.dump(x, stream)": "dump",
    }
    for text, name in texts.items():
        assert changes_of(Module(name="m", tree=ast.parse(text), path=Path("m.py"))) == {name}, text
    for text in ("p.open('rb')", "open(p)", "text.replace('a', 'b')", "write_text(p, 'x')", "json.dumps(x)"):
        assert changes_of(Module(name="m", tree=ast.parse(text), path=Path("m.py"))) == set(), text
