"""The page on Python names a typed function for every command, and it raises what the command prints."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import evaluation.api
from evaluation.cli import app
from ravel.common.errors import SuiteError

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "python-api.md"


def rows() -> dict[str, list[str]]:
    """Return the named functions of each command, as they stand on the page."""
    found: dict[str, list[str]] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 3 and cells[1].startswith("`ravel "):
            assert cells[1] not in found, cells[1]
            found[cells[1].strip("`")] = re.findall(r"`([\w.]+\([^`]*\))`", cells[2])
    return found


def commands(group: Any, name: str = "ravel") -> Iterator[str]:
    """Yield every command that runs something, by its full name."""
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}"


def named(dotted: str) -> Any:
    """Import what stands on the page."""
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)


SIGNATURES = sorted({signature for found in rows().values() for signature in found})


def name_of(command: str) -> str:
    """Return the name in the API that a command must have."""
    name = "_".join(command.replace("-", "_").split()[1:])
    return "import_featurizer" if name == "import" else name


def test_every_command_has_its_function_and_the_page_names_it_first() -> None:
    for command, found in rows().items():
        assert found[0].startswith(f"evaluation.api.{name_of(command)}("), command
        assert name_of(command) in evaluation.api.__all__


def test_the_page_names_nothing_else() -> None:
    dotted = set(re.findall(r"\b(?:ravel|das|evaluation)\.[\w.]+\w", PAGE.read_text(encoding="utf-8")))
    assert {name for name in dotted if not name.startswith("evaluation.api")} == set()


def test_type_checkers_are_told_what_callers_get() -> None:
    tree = ast.parse(Path(str(evaluation.api.__file__)).read_text(encoding="utf-8"))
    told = {
        entry.asname or entry.name: f"{statement.module}.{entry.name}"
        for block in tree.body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for entry in statement.names
    }
    assert told == evaluation.api._PLACES
    assert sorted(evaluation.api.__all__) == dir(evaluation.api) == sorted(told)


@pytest.mark.parametrize("name", evaluation.api.__all__)
def test_each_name_can_be_imported(name: str) -> None:
    assert getattr(evaluation.api, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="buidl"):
        named("evaluation.api.buidl")


def test_importing_it_loads_nothing_that_takes_long() -> None:
    code = (
        "import sys, evaluation.api, ravel_bench\n"
        "slow = {'torch', 'numpy', 'pandas', 'pydantic', 'transformers', 'das', 'ravel'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)


def test_every_command_has_a_row_and_every_row_a_command() -> None:
    assert sorted(rows()) == sorted(commands(typer.main.get_command(app)))
    assert [command for command, found in rows().items() if not found] == []


@pytest.mark.parametrize("signature", SIGNATURES)
def test_a_function_is_typed_and_called_as_the_page_says(signature: str) -> None:
    dotted, _, rest = signature.partition("(")
    function = named(dotted)
    parameters = inspect.signature(function).parameters
    shown = [name for name in rest.rstrip(")").split(", ") if name]
    needed = [name for name, p in parameters.items() if p.default is inspect.Parameter.empty]
    assert shown == needed
    untyped = [name for name, p in parameters.items() if p.annotation is inspect.Parameter.empty]
    assert untyped == []
    assert inspect.signature(function).return_annotation is not inspect.Signature.empty
    assert inspect.getdoc(function)
    assert not function.__name__.startswith("_")


def test_what_goes_into_them_can_be_imported() -> None:
    text = PAGE.read_text(encoding="utf-8").split("What goes into them")[1].split("## ")[0]
    found = re.findall(r"`(evaluation\.[\w.]+)\(", text)
    assert len(found) > 5
    for dotted in found:
        owner = dotted.removesuffix(".from_file")
        assert callable(named(owner)), dotted
        assert owner == dotted or callable(named(owner).from_file)


def test_each_package_says_that_it_is_typed() -> None:
    assert [
        name
        for name in ("ravel", "das", "evaluation", "ravel_bench")
        if not (ROOT / name / "py.typed").is_file()
    ] == []


def raised(call: Callable[[], object]) -> str:
    with pytest.raises(SuiteError) as caught:
        call()
    return " ".join(str(caught.value).splitlines())


NOWHERE = "no-such-folder"
MISTAKES: list[tuple[list[str], str, tuple[Any, ...]]] = [
    (["verify", NOWHERE], "evaluation.api.verify", (Path(NOWHERE),)),
    (["card", NOWHERE], "evaluation.api.card", (Path(NOWHERE),)),
    (["table", NOWHERE], "evaluation.api.table", ([Path(NOWHERE)],)),
    (
        ["table", NOWHERE, "--table", "mian"],
        "evaluation.api.table",
        ([Path(NOWHERE)], "mian"),
    ),
    (
        ["table", NOWHERE, "b"],
        "evaluation.api.table",
        ([Path(NOWHERE), Path("b")],),
    ),
    (["plot", NOWHERE], "evaluation.api.plot", (Path(NOWHERE),)),
    (["report", NOWHERE], "evaluation.api.report", (Path(NOWHERE),)),
    (["data", "show", "citty"], "evaluation.api.open_tables", ("bundled", "citty")),
    (["planted", "make", "smal", "--out", NOWHERE], "evaluation.api.open_spec", ("smal",)),
    (["push", NOWHERE, "a/b"], "evaluation.api.push", (Path(NOWHERE), "a/b")),
    (["pull", "a/b", "--out", NOWHERE], "evaluation.api.pull", ("a/b", Path(NOWHERE))),
    (
        ["score", "f", "--instance", NOWHERE, "--split", "context"],
        "evaluation.api.model_named_in",
        (Path(NOWHERE),),
    ),
]


@pytest.mark.parametrize(("words", "dotted", "arguments"), MISTAKES, ids=lambda value: str(value)[:30])
def test_a_function_raises_what_its_command_prints(
    words: list[str],
    dotted: str,
    arguments: tuple[Any, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 2
    assert said.stderr.strip() == raised(lambda: named(dotted)(*arguments))
    assert list(tmp_path.iterdir()) == []
