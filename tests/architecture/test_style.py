"""Habits that no linter checks for us: headers, docstrings, no printing, no pickle, no globals."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from source_tree import Module, modules

PRINTING = ("evaluation.cli", "evaluation.commands")
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def definitions(module: Module) -> Iterator[tuple[str, Definition]]:
    """Yield public functions, classes and methods with their names; private classes are passed over."""
    yield from _definitions(module.tree, module.name)


def _definitions(node: ast.AST, prefix: str) -> Iterator[tuple[str, Definition]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Definition) and not child.name.startswith("_"):
            yield f"{prefix}.{child.name}", child
            if isinstance(child, ast.ClassDef):
                yield from _definitions(child, f"{prefix}.{child.name}")


def test_every_module_begins_with_what_it_is() -> None:
    assert [module.name for module in modules() if not ast.get_docstring(module.tree)] == []


def test_every_public_function_class_and_method_has_a_docstring() -> None:
    missing = [
        name for module in modules() for name, node in definitions(module) if not ast.get_docstring(node)
    ]
    assert missing == []


def test_every_field_of_a_record_or_config_has_a_line() -> None:
    missing = [
        f"{name}.{field}"
        for module in modules()
        for name, node in definitions(module)
        if isinstance(node, ast.ClassDef) and _is_record(node) and not _is_group_of_flags(name)
        for field in _undescribed(node)
    ]
    assert missing == []


def _is_group_of_flags(name: str) -> bool:
    """What each flag is for says its help, which every flag has (tests/evaluation/commands/test_flags.py)."""
    return name.startswith("evaluation.commands.") and name.endswith("Flags")


def _is_record(node: ast.ClassDef) -> bool:
    decorated = any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)
    return decorated or any(ast.unparse(base).endswith("Config") for base in node.bases)


def _undescribed(node: ast.ClassDef) -> Iterator[str]:
    for statement, following in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            described = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            if not described and not statement.target.id.startswith("_"):
                yield statement.target.id


def test_names_are_listed_only_where_some_come_from_elsewhere() -> None:
    """What a module defines without an underscore is what it offers; `__all__` would say it again."""
    wrong = []
    for module in modules():
        listed = {name for node in module.tree.body for name in _listed(node)}
        defined = {name for node in module.tree.body for name in _defined(node)}
        if listed and listed <= defined and not module.is_package:
            wrong.append(module.name)
    assert wrong == []


def _listed(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
        return list(ast.literal_eval(node.value))
    return []


def _defined(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, Definition):
        yield node.name
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        yield from (name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))


def test_only_the_command_line_prints() -> None:
    wrong = [
        f"{module.name}, line {node.lineno}"
        for module in modules()
        if not module.name.startswith(PRINTING)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("print", "sys.stdout.write", "sys.stderr.write", "typer.echo")
    ]
    assert wrong == []


def test_no_star_imports_no_pickle_no_global_seeding() -> None:
    wrong = [
        f"{module.name}, line {node.lineno}: {ast.unparse(node)[:60]}"
        for module in modules()
        for node in ast.walk(module.tree)
        if _is_forbidden(node) and not _is_foreign_file(module, node)
    ]
    assert wrong == []


def _is_foreign_file(module: Module, node: ast.AST) -> bool:
    """Files of torch.save are exchanged with other tools in one module, which never unpickles a class."""
    if module.name != "das.interop.torch_files" or not isinstance(node, ast.Call):
        return False
    if ast.unparse(node.func) == "torch.save":
        return True
    safely = {k.arg: ast.unparse(k.value) for k in node.keywords}.get("weights_only") == "True"
    return ast.unparse(node.func) == "torch.load" and safely


def _is_forbidden(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == "pickle" or any(alias.name == "*" for alias in node.names)
    if isinstance(node, ast.Import):
        return any(alias.name == "pickle" for alias in node.names)
    if isinstance(node, ast.Global):
        return True
    seeding = ("torch.save", "random.seed", "np.random.seed", "numpy.random.seed", "torch.load")
    return isinstance(node, ast.Call) and ast.unparse(node.func) in seeding


def test_zip_is_told_whether_lengths_must_agree() -> None:
    wrong = [
        f"{module.name}, line {node.lineno}"
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "zip"
        and "strict" not in {keyword.arg for keyword in node.keywords}
    ]
    assert wrong == []


def test_public_constructors_spell_out_their_settings() -> None:
    wrong = [
        f"{name}.__init__"
        for module in modules()
        for name, node in definitions(module)
        if isinstance(node, ast.ClassDef)
        for member in node.body
        if isinstance(member, ast.FunctionDef) and member.name == "__init__" and member.args.kwarg is not None
    ]
    assert wrong == []
