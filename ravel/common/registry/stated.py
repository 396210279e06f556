"""What a module states of the class it registers, read from its text; nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path


def stated_in(file: Path, attribute: str, fields: Sequence[str]) -> dict[str, str] | None:
    """Return the texts that the class bound to `attribute` in a file gives to these fields in its own body,
    or None for a file that binds none. Raises ValueError where a field is no plain text there."""
    body = ast.parse(file.read_text(encoding="utf-8")).body
    bound = _assigned(body).get(attribute)
    if bound is None:
        return None
    named = [each for each in body if isinstance(each, ast.ClassDef) and each.name == ast.unparse(bound)]
    given = _assigned(named[0].body) if named else {}
    stated = {name: given[name] for name in fields if name in given}
    texts = {name: it.value for name, it in stated.items() if isinstance(it, ast.Constant)}
    if not all(isinstance(texts.get(name), str) for name in fields):
        raise ValueError(f"{file} binds {attribute} to no class with plain texts as {list(fields)}")
    return {name: str(texts[name]) for name in fields}


def _assigned(body: Sequence[ast.stmt]) -> dict[str, ast.expr]:
    """Return what is assigned to single names, by name."""
    return {
        target.id: statement.value
        for statement in body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
