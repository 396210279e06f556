"""From a CSV file to an instance, as a user goes: begin, rewrite the templates, check, build."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from cli_world import ravel

from ravel.common.bundled import bundled_path
from ravel.common.errors import SuiteError
from ravel.facts.tables import read_bundled
from ravel.instance import Instance

ATTRIBUTES = ("Language", "Profession")


def is_bundled() -> bool:
    """Tell whether this checkout has the model."""
    try:
        return bundled_path("target_model").is_dir()
    except SuiteError:
        return False


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A CSV file of invented people whom the bundled model knows."""
    path = tmp_path / "people.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["who", *ATTRIBUTES])
        for facts in read_bundled("invented_person").entities[:32]:
            writer.writerow([facts.entity, *(dict(facts.values)[name] for name in ATTRIBUTES)])
    return path


def begin(table: Path, out: Path) -> None:
    done = ravel("data", "new", "toy_person", "--csv", table, "--entity-column", "who", "--out", out)
    assert done.exit_code == 0, done.output
    assert f"ravel data check {out}" in done.stdout
    assert "Language: Prefix" in done.stdout


def rewritten() -> list[str]:
    """Lines of templates that the model answers, three of each kind."""
    lines = bundled_path("invented_person", "templates.jsonl").read_text(encoding="utf-8").splitlines()
    kinds: dict[tuple[str | None, str], list[str]] = {}
    for line in lines:
        row = json.loads(line)
        if row["entity"] is None and row["attribute"] in (*ATTRIBUTES, None):
            kinds.setdefault((row["attribute"], row["partition"]), []).append(line)
    return [line for found in kinds.values() for line in found[:3]]


@pytest.mark.slow
@pytest.mark.skipif(not is_bundled(), reason="this checkout has no bundled model")
def test_a_table_becomes_an_instance(table: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "people", tmp_path / "instance"
    begin(table, folder)
    (folder / "templates.jsonl").write_text("\n".join(rewritten()) + "\n", encoding="utf-8")
    checked = ravel("data", "check", folder)
    assert checked.exit_code == 0, checked.output
    assert "wrote" not in checked.stdout
    small = [word for setting in ("train_pairs=24", "evaluation_pairs=8") for word in ("--set", setting)]
    source = ["--entity-type", "toy_person", "--data", folder, *small]
    built = ravel("--plugin", folder / "toy_person.py", "build", "--model", "bundled", *source, "--out", out)
    assert built.exit_code == 0, built.output
    assert set(Instance.load(out).attributes) == set(ATTRIBUTES)


def test_faults_end_with_2_and_are_in_the_json_too(table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "people"
    begin(table, folder)
    entities = folder / "entities.jsonl"
    entities.write_text(entities.read_text(encoding="utf-8").replace('"train"', '"tran"'), encoding="utf-8")
    checked = ravel("data", "check", folder)
    assert checked.exit_code == 2
    assert "16 faults" in checked.stdout
    assert checked.stderr.count("got 'tran'") == 16
    assert len(json.loads(ravel("data", "check", folder, "--json").stdout)["faults"]) == 16


def test_a_table_as_data_is_told_what_to_do(table: Path, tmp_path: Path) -> None:
    built = ravel(
        *("build", "--model", "bundled", "--entity-type", "toy_person", "--data", table),
        *("--out", tmp_path / "out"),
    )
    assert built.exit_code == 2
    assert "ravel data new toy_person --csv" in built.stderr.replace("\n", " ")
    assert not (tmp_path / "out").exists()
