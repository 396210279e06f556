"""Own facts: what is written from a CSV file is sound, and every fault that is edited into it is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ravel.common.errors import SuiteError
from ravel.common.registry.plugins import plugins_named
from ravel.entity_types import ENTITY_TYPES
from ravel.facts.own_check import check_facts
from ravel.facts.own_facts import StartedFacts, start_facts
from ravel.facts.sources import open_tables
from ravel.matching import NumberWithin, Prefix
from ravel.terms.schema import PARTITIONS

NAMES = ("Zorvex", "Blim", "Kresk", "Mivo", "Tarp", "Ulda", "Fenn", "Grio")
MAKERS = ("Alta", "Brod", "Cern")


def csv_of(folder: Path, text: str) -> Path:
    path = folder / "products.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def started(tmp_path: Path) -> StartedFacts:
    rows = [f"{MAKERS[at % 3]};{name};{10 * at},5".replace(",", ".") for at, name in enumerate(NAMES)]
    path = csv_of(tmp_path, "\ufeff" + "\n".join(["Maker;name;price_eur", *rows]) + "\n\n")
    return start_facts("toy_product", path, tmp_path / "toy", entity_column="name")


def edited(path: Path, line: int, **changes: Any) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[line - 1] = json.dumps({**json.loads(lines[line - 1]), **changes})
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_what_is_written_is_read_like_any_facts(started: StartedFacts) -> None:
    with plugins_named([started.plugin]):
        tables = open_tables(str(started.folder), "toy_product")
        assert ENTITY_TYPES.get("toy_product") == started.tables.entity_type
    assert tables == started.tables
    assert [facts.entity for facts in tables.entities] == list(NAMES)
    assert tables.facts("Blim").values == (("Maker", "Brod"), ("price_eur", "10.5"))
    assert tables.entity_type.attribute("Maker").matcher == Prefix()
    assert tables.entity_type.attribute("price_eur").matcher == NumberWithin(within=1)
    for attribute in (*tables.attributes(), None):
        assert {template.partition for template in tables.templates_for(attribute)} == set(PARTITIONS)
    cut = [sum(facts.partition == part for facts in tables.entities) for part in PARTITIONS]
    assert cut == [4, 2, 2]


def test_a_table_is_cut_alike_whatever_the_order_of_its_rows(tmp_path: Path, started: StartedFacts) -> None:
    rows = [f"{name},x" for name in reversed(NAMES)]
    again = start_facts("toy_b", csv_of(tmp_path, "\n".join(["name,Maker", *rows])), tmp_path / "again")
    cut = {facts.entity: facts.partition for facts in started.tables.entities}
    assert {facts.entity: facts.partition for facts in again.tables.entities} == cut


def test_it_is_sound_and_what_is_left_to_do_is_noted(started: StartedFacts) -> None:
    found = check_facts(started.folder)
    assert (found.faults, found.entities, found.templates) == ([], 8, 20)
    assert [note.partition(" of ")[0] for note in found.notes][:1] == ["20"]
    assert "licence" in found.notes[1]


def test_every_fault_is_told_at_once_with_its_file_and_line(started: StartedFacts) -> None:
    entities, templates = started.folder / "entities.jsonl", started.folder / "templates.jsonl"
    edited(entities, 1, partition="trian", values={"Maker": 3, "prize": "x"})
    edited(entities, 2, entity="Kresk")
    edited(templates, 1, attribute="Makr", template="no slot")
    edited(templates, 2, entity="Nobody")
    edited(templates, 4, chat=1)
    with entities.open("a", encoding="utf-8") as stream:
        stream.write("{\n[]\n")
    faults = check_facts(started.folder).faults
    told = [("entities", 1, "3"), ("entities", 1, "'trian'"), ("entities", 1, "'prize'")]
    told += [
        ("entities", 9, ""),
        ("entities", 10, "a list"),
        ("entities", 3, "line 2"),
        ("templates", 1, "no %s"),
    ]
    told += [("templates", 1, "'Makr'"), ("templates", 2, "'Nobody'"), ("templates", 4, "got 1")]
    for file, line, came in told:
        at = f"line {line} of {started.folder / file}.jsonl"
        assert any(at in fault and came in fault for fault in faults), (at, came)
    assert len(faults) == len(told)


def test_what_spoils_scores_is_noted_with_its_line(started: StartedFacts) -> None:
    templates = started.folder / "templates.jsonl"
    edited(templates, 1, template="The maker of %ss is")
    edited(templates, 2, template="Kresk and %s are made by ")
    edited(templates, 3, template="the  maker of %SS is".replace("%SS", "%ss"))
    for line in (7, 8):
        edited(templates, line, partition="train")
    edited(started.folder / "entities.jsonl", 3, entity="kresk")
    found = check_facts(started.folder)
    assert found.faults == []
    text = "\n".join(found.notes)
    assert text.count("right after %s") == 2
    assert "line 2 of" in text
    assert "blank at the end" in text
    assert "line 3 of" in text
    assert "no template for Maker in test" in text


@pytest.mark.parametrize(
    ("text", "came"),
    [
        (
            "name,Maker\na,b\na,c\n,d\nx,y,z\nq,\n",
            ["line 3 names 'a'", "line 4 has no", "line 5 has 3", "line 6"],
        ),
        ("name,Maker,maker,\na,b,c,d\n", ["'maker' twice", "without a name"]),
        ('name,Maker\na,b\n"c,d\n', ["line 3"]),
        ("name,Maker\na,b\n", ["1 rows"]),
        ("name\na\nb\nc\n", ["no column besides"]),
    ],
)
def test_a_table_that_does_not_fit_is_refused_with_its_lines(
    tmp_path: Path, text: str, came: list[str]
) -> None:
    with pytest.raises(SuiteError) as refused:
        start_facts("toy_product", csv_of(tmp_path, text), tmp_path / "toy")
    assert [part for part in came if part not in refused.value.came] == []
    assert not (tmp_path / "toy").exists()


def test_names_that_are_none_or_taken_are_refused(tmp_path: Path) -> None:
    path = csv_of(tmp_path, "name,Maker\na,b\nc,d\ne,f\n")
    for name, column in (("city", None), ("../up", None), ("toy", "nme"), ("toy", "")):
        with pytest.raises(SuiteError, match="name"):
            start_facts(name, path, tmp_path / "toy", entity_column=column)


def test_a_folder_without_a_declaration_needs_a_type(tmp_path: Path, started: StartedFacts) -> None:
    started.plugin.unlink()
    with pytest.raises(SuiteError, match="--entity-type"):
        check_facts(started.folder)
    assert any("'Maker'" in fault for fault in check_facts(started.folder, "city").faults)


@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
def test_a_table_as_data_says_what_to_do(tmp_path: Path, suffix: str) -> None:
    path = csv_of(tmp_path, "name,Maker\n").rename(tmp_path / f"products{suffix}")
    with pytest.raises(SuiteError, match=r"ravel data new product --csv .*products\.csv --entity-column"):
        open_tables(str(path), "product")
