"""The page on Python names a typed function for every command, and it raises what the command prints."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from evaluation.cli import app
from ravel.common.errors import SuiteError

TABLE = "evaluation.report.tables.of_runs.table_of_runs"
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
    module = importlib.import_module(function.__module__)
    assert function.__name__ in module.__all__


def test_what_goes_into_them_can_be_imported() -> None:
    text = PAGE.read_text(encoding="utf-8").split("What goes into them")[1].split("## ")[0]
    found = re.findall(r"`((?:ravel|das|evaluation)\.[\w.]+)\(", text)
    assert len(found) > 5
    for dotted in found:
        owner = dotted.removesuffix(".from_file")
        assert callable(named(owner)), dotted
        assert owner == dotted or callable(named(owner).from_file)


def test_each_package_says_that_it_is_typed() -> None:
    assert [name for name in ("ravel", "das", "evaluation") if not (ROOT / name / "py.typed").is_file()] == []


def raised(call: Callable[[], object]) -> str:
    with pytest.raises(SuiteError) as caught:
        call()
    return " ".join(str(caught.value).splitlines())


NOWHERE = "no-such-folder"
MISTAKES: list[tuple[list[str], str, tuple[Any, ...]]] = [
    (["verify", NOWHERE], "evaluation.verify.folders.verify_artefact", (Path(NOWHERE),)),
    (["card", NOWHERE], "evaluation.report.cards.card_of", (Path(NOWHERE),)),
    (["table", NOWHERE], TABLE, ([Path(NOWHERE)],)),
    (
        ["table", NOWHERE, "--table", "mian"],
        TABLE,
        ([Path(NOWHERE)], "mian"),
    ),
    (
        ["table", NOWHERE, "b"],
        TABLE,
        ([Path(NOWHERE), Path("b")],),
    ),
    (["plot", NOWHERE], "evaluation.report.publish.draw_run", (Path(NOWHERE),)),
    (["report", NOWHERE], "evaluation.report.page.write_report", (Path(NOWHERE),)),
    (["data", "show", "citty"], "ravel.facts.sources.open_tables", ("bundled", "citty")),
    (["planted", "make", "smal", "--out", NOWHERE], "das.models.planted.open_spec", ("smal",)),
    (["push", NOWHERE, "a/b"], "evaluation.exchange.hub.push.push_folder", (Path(NOWHERE), "a/b")),
    (["pull", "a/b", "--out", NOWHERE], "evaluation.exchange.hub.pull.pull_folder", ("a/b", Path(NOWHERE))),
    (
        ["score", "f", "--instance", NOWHERE, "--split", "context"],
        "evaluation.suite.folders.model_named_in",
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
