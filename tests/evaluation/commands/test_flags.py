"""A function with groups of flags is a command with a flag for each field; every flag says what it is for."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_args

import click
import pytest
import typer
from typer.testing import CliRunner

from das.engine import ENGINES
from das.models.placing import AUTO, DTYPES
from evaluation import api
from evaluation.cli import app
from evaluation.commands.flags import LoadFlags, TargetFlags, command
from evaluation.commands.flags.names import given
from evaluation.commands.flags.suite import SuiteFlags
from evaluation.commands.printing import Result, shown_progress
from evaluation.commands.printing.loudness import speaking
from evaluation.config.execution import ExecutionKind
from evaluation.exchange.trackers import TRACKERS
from evaluation.report.tables import RENDERERS
from evaluation.report.tables.of_runs import TABLES
from ravel.common.errors import SuiteError
from ravel.common.progress import Note
from ravel.terms.schema import GENERALISATIONS


@dataclass(frozen=True)
class Pair:
    """Two flags."""

    first: Annotated[int, typer.Option("--first", help="A number.")] = 1
    second: Annotated[list[str] | None, typer.Option("--second", help="Words.")] = None


@command
def example(
    *,
    name: Annotated[str, typer.Argument()],
    pair: Pair,
    last: Annotated[bool, typer.Option("--last", help="A switch.")] = False,
) -> Result:
    """Say what came."""
    return Result([name, pair.first, pair.second, last], lambda: None)


def came(*words: str) -> Any:
    one = typer.Typer(add_completion=False)
    one.command()(example)
    done = CliRunner().invoke(one, [*words, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_group_of_flags_arrives_as_one_value() -> None:
    assert came("n") == ["n", 1, None, False]
    assert came("n", "--second", "a", "--second", "b", "--first", "3", "--last") == ["n", 3, ["a", "b"], True]


def test_flags_of_a_group_stand_where_the_group_stands() -> None:
    one = typer.Typer(add_completion=False)
    one.command()(example)
    assert [p.name for p in typer.main.get_command(one).params] == [
        *("name", "first", "second", "last", "quiet", "verbose", "as_json"),
    ]


def test_a_quiet_command_says_nothing_beside_its_result_and_a_verbose_one_every_step(
    capsys: pytest.CaptureFixture[str],
) -> None:
    heard = []
    for quiet, verbose in ((False, False), (True, False), (False, True)):
        with speaking(quiet=quiet, verbose=verbose), shown_progress() as progress:
            progress(Note("a note"))
        heard.append(capsys.readouterr().err)
    assert heard == ["a note\n", "", "a note\n"]
    assert came("n", "-q") == came("n", "-v") == came("n")


def test_choices_in_the_help_are_what_there_is() -> None:
    fields_of_build = api.BuildConfig.model_fields
    listed = {
        "--engine": ENGINES,
        "--dtype": [*DTYPES, AUTO],
        "--execution": get_args(ExecutionKind),
        "--log": TRACKERS.names(),
        "--selection": get_args(fields_of_build["selection"].annotation),
        "--table": [*TABLES, "types", "models"],
        "--format": ["text", *RENDERERS],
        "--split": GENERALISATIONS,
    }
    shown: dict[str, set[str]] = {}
    for each in (
        c for c in commands(typer.main.get_command(app)) if c.name in ("build", "run", "table", "score")
    ):
        for flag in (p for p in each.params if "|" in (p.metavar or "")):
            shown.setdefault(flag.opts[0], set()).update(flag.metavar.strip("[]").split(" | "))
    assert {name: shown[name] for name in listed} == {name: set(names) for name, names in listed.items()}


def test_help_fits_eighty_columns_and_cuts_no_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    for name in ("run", "build", "score", "table"):
        text = CliRunner().invoke(app, [name, "--help"], terminal_width=80).output
        assert max(map(len, text.splitlines())) <= 80
        assert "…" not in text
        for panel in ("Options", "Output"):
            assert f"─ {panel} ─" in text


def commands(group: Any) -> list[click.Command]:
    return [
        found
        for each in group.commands.values()
        for found in (commands(each) if hasattr(each, "commands") else [each])
    ]


def test_every_flag_of_every_command_has_help_and_every_command_has_json() -> None:
    for each in commands(typer.main.get_command(app)):
        flags = [p for p in each.params if getattr(p, "opts", [""])[0].startswith("-")]
        assert [p.name for p in flags if not getattr(p, "help", None)] == []
        assert "as_json" in [p.name for p in flags], each.name


@pytest.mark.parametrize("group", [TargetFlags, LoadFlags])
def test_flags_of_a_target_have_the_defaults_of_its_config(group: Any) -> None:
    config = group().config("some/model")
    assert config.model == "some/model"
    fallback = api.TargetConfig()
    for field in fields(group):
        assert getattr(config, field.name) == getattr(fallback, field.name)


def test_flags_of_a_suite_that_are_not_given_change_nothing() -> None:
    suite = api.SuiteConfig(instance="i", methods=("pca",), sites=("block_output.0@entity_last",))
    assert SuiteFlags().config(suite) == suite
    flags = SuiteFlags(controls="a, b", device="cuda", retries=0, cache_folder=Path("c"))
    changed = flags.config(suite)
    assert (changed.controls, changed.device, changed.execution.retries) == (("a", "b"), "cuda", 0)
    assert (
        changed.model_copy(
            update={n: getattr(suite, n) for n in ("controls", "device", "execution", "cache_folder")}
        )
        == suite
    )
    assert flags.target(changed).cache_folder == Path("c")


def test_an_adapter_is_written_where_there_is_one_and_nowhere_else(tmp_path: Path) -> None:
    """Files without one stay what they were to the byte."""
    suite = api.SuiteConfig(instance="i", methods=("pca",), sites=("block_output.0@entity_last",))
    assert "adapter" not in suite.to_yaml()
    changed = SuiteFlags(adapter=tmp_path, merge_adapter=True).config(suite)
    assert api.SuiteConfig.from_yaml(changed.to_yaml()) == changed
    target = changed.target()
    assert (target.adapter, target.merge_adapter) == (tmp_path, True)
    assert TargetFlags(adapter=tmp_path).config("m") == api.TargetConfig(model="m", adapter=tmp_path)


def test_a_setting_is_set_by_its_place() -> None:
    suite = api.SuiteConfig(instance="i", methods=("pca", "das"), sites=("block_output.0@entity_last",))
    flags = SuiteFlags(assignments=["methods.1.config.epochs=5", "seeds=[3, 4]", "floors=false"])
    changed = flags.config(suite)
    assert changed.methods[1].config == {"epochs": 5}
    assert (changed.seeds, changed.floors, changed.methods[0]) == ((3, 4), False, suite.methods[0])
    assert SuiteFlags(assignments=[]).config(suite) == suite


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("seeds", "key=value"),
        ("=3", "key=value"),
        ("methods.2.config.epochs=1", "a list of 2, numbered from 0"),
        ("methods.x.name=pca", "a list of 2"),
        ("model.name=x", "inside the value 'bundled'"),
        ("seads=[1]", "did you mean 'seeds'"),
        ("seeds=[a]", "valid value for 'seeds.0'"),
        ("seeds=[1", "as in a YAML file"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused_in_words(assignment: str, said: str) -> None:
    suite = api.SuiteConfig(instance="i", methods=("pca", "das"), sites=("block_output.0@entity_last",))
    with pytest.raises(SuiteError, match=re.escape(said)):
        SuiteFlags(assignments=[assignment]).config(suite)


def test_zero_is_given_and_a_switch_left_off_is_not() -> None:
    flags = {"zero": 0, "empty": [], "off": False, "on": True, "none": None, "share": 0.0}
    assert given(flags) == {"zero": 0, "on": True, "share": 0.0}


def test_verbose_lets_the_library_speak_and_only_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRANSFORMERS_VERBOSITY", raising=False)
    with speaking(quiet=False, verbose=True):
        assert os.environ["TRANSFORMERS_VERBOSITY"] == "info"
    with speaking(quiet=False, verbose=False):
        assert "TRANSFORMERS_VERBOSITY" not in os.environ
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "error")
    with speaking(quiet=False, verbose=True):
        assert os.environ["TRANSFORMERS_VERBOSITY"] == "error"
    assert os.environ["TRANSFORMERS_VERBOSITY"] == "error"
