"""A function with groups of flags is a command with a flag for each field; every flag says what it is for."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import click
import pytest
import typer
from typer.testing import CliRunner

from evaluation import api
from evaluation.cli import app
from evaluation.commands.flags import LoadFlags, TargetFlags, command
from evaluation.commands.flags.names import given
from evaluation.commands.flags.suite import SuiteFlags
from evaluation.commands.printing import Result


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
        *("name", "first", "second", "last", "as_json"),
    ]


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


def test_zero_is_given_and_a_switch_left_off_is_not() -> None:
    flags = {"zero": 0, "empty": [], "off": False, "on": True, "none": None, "share": 0.0}
    assert given(flags) == {"zero": 0, "on": True, "share": 0.0}
