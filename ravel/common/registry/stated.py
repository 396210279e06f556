"""What a module states of the thing it registers, read from its text; nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Stated = str | tuple[str, ...]


def stated_in(file: Path, attribute: str, fields: Sequence[str]) -> dict[str, Any] | None:
    """Return the texts, or tuples of texts, that the thing bound to `attribute` in a file is given for these
    fields: in the body of its class, of which it may be an instance, or as named arguments of the call that
    makes it. None for a file that binds none. Raises ValueError where a field is not plain there."""
    body = ast.parse(file.read_text(encoding="utf-8")).body
    bound = _assigned(body).get(attribute)
    if bound is None:
        return None
    given = _given(bound, body)
    stated = {name: _plain(given[name]) for name in fields if name in given}
    if any(stated.get(name) is None for name in fields):
        raise ValueError(f"{file} binds {attribute} to nothing with plain texts as {list(fields)}")
    return stated


def _given(bound: ast.expr, body: Sequence[ast.stmt]) -> Mapping[str, ast.expr]:
    named = ast.unparse(bound.func if isinstance(bound, ast.Call) else bound)
    own = [each for each in body if isinstance(each, ast.ClassDef) and each.name == named]
    if own:
        return _assigned(own[0].body)
    arguments = bound.keywords if isinstance(bound, ast.Call) else ()
    return {each.arg: each.value for each in arguments if each.arg is not None}


def _plain(value: ast.expr) -> Stated | None:
    """Return a text or a tuple of texts; None for anything else."""
    try:
        plain: object = ast.literal_eval(value)
    except ValueError:
        return None
    if isinstance(plain, str):
        return plain
    return plain if isinstance(plain, tuple) and all(isinstance(part, str) for part in plain) else None


def _assigned(body: Sequence[ast.stmt]) -> dict[str, ast.expr]:
    """Return what is assigned to single names, annotated or not, by name."""
    found: dict[str, ast.expr] = {}
    for statement in body:
        targets: Sequence[ast.expr] = statement.targets if isinstance(statement, ast.Assign) else ()
        if isinstance(statement, ast.AnnAssign):
            targets = (statement.target,)
        value = getattr(statement, "value", None)
        found |= {to.id: value for to in targets if isinstance(to, ast.Name) and value is not None}
    return found
