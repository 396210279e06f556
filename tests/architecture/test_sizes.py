"""How long functions, modules and command files may be."""

from __future__ import annotations

import ast

import pytest
from source_tree import modules

LONGEST_FUNCTION = 60
NINE_IN_TEN = 20
LONGEST_MODULE = 400
LONGEST_COMMAND_FILE = 120


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function."""
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def functions() -> dict[str, int]:
    """Return the length of each function by name and place."""
    return {
        f"{module.name}.{node.name}, line {node.lineno}": length(node)
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_no_function_is_long_and_most_are_short() -> None:
    lengths = functions()
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION} == {}
    assert sorted(lengths.values())[int(0.9 * len(lengths))] <= NINE_IN_TEN


@pytest.mark.parametrize(
    ("prefix", "longest"), [("", LONGEST_MODULE), ("evaluation.commands.", LONGEST_COMMAND_FILE)]
)
def test_no_module_is_long(prefix: str, longest: int) -> None:
    lines = {
        module.name: len(module.path.read_text(encoding="utf-8").splitlines())
        for module in modules()
        if module.name.startswith(prefix)
    }
    assert {name: count for name, count in lines.items() if count > longest} == {}
