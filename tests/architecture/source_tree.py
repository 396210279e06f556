"""The suite's source files as syntax trees, and what they import; nothing is executed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("ravel", "das", "evaluation", "ravel_bench")


@dataclass(frozen=True)
class Module:
    """One source file."""

    name: str
    """Import name, such as `das.engine.engines.direct`."""
    path: Path
    """Where the file lies."""
    tree: ast.Module
    """Its syntax."""

    @property
    def is_package(self) -> bool:
        """True for an `__init__.py`."""
        return self.path.name == "__init__.py"


@dataclass(frozen=True)
class Import:
    """One imported module."""

    importer: str
    """Who imports."""
    imported: str
    """Import name of a module."""
    line: int
    """Where."""
    inside_function: bool
    """True if it runs only when a function is called."""
    typing_only: bool
    """True if it stands under `if TYPE_CHECKING`."""


@cache
def modules() -> tuple[Module, ...]:
    """Return every module of the four packages."""
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found.append(Module(name, path, ast.parse(path.read_text(encoding="utf-8"))))
    return tuple(found)


@cache
def imports() -> tuple[Import, ...]:
    """Return every import of every module, ours and others'."""
    return tuple(found for module in modules() for found in _imports_of(module))


def _imports_of(module: Module) -> Iterator[Import]:
    yield from _walk(module.tree, module, inside_function=False, typing_only=False)


def _walk(node: ast.AST, module: Module, *, inside_function: bool, typing_only: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        for name in _imported(child, module):
            assert isinstance(child, (ast.Import, ast.ImportFrom))
            yield Import(module.name, name, child.lineno, inside_function, typing_only)
        yield from _walk(
            child,
            module,
            inside_function=inside_function or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)),
            typing_only=typing_only or _is_typing_block(child),
        )


def _imported(node: ast.AST, module: Module) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    assert node.level == 0, f"{module.name}, line {node.lineno}: a relative import"
    assert node.module is not None
    known = {m.name for m in modules()}
    # `from das.engine import direct` imports a module, `... import DirectEngine` only its package.
    return sorted(
        {f"{node.module}.{a.name}" if f"{node.module}.{a.name}" in known else node.module for a in node.names}
    )


def _is_typing_block(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def package_of(name: str) -> str:
    """Return the first part of an import name."""
    return name.partition(".")[0]
