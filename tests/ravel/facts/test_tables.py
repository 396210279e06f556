"""Tables: reading back what was written, and one readable error for each way a folder can be out of order."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ravel.common.bundled import bundled_path
from ravel.common.errors import SuiteError
from ravel.entity_types import ENTITY_TYPES
from ravel.facts.tables import Located, Tables, read_bundled, read_tables, tables_from, write_tables
from ravel.terms.schema import PARTITIONS, EntityFacts, Template

PERSON = ENTITY_TYPES.get("invented_person")
ENTITY = {"entity": "Ann", "partition": "train", "values": {"Birthplace": "Oslo", "Language": "Greek"}}
TEMPLATE = {"attribute": "Birthplace", "entity": None, "partition": "val", "template": "%s comes from"}
FREE = {"attribute": None, "entity": "Ann", "partition": "test", "template": "I met %s at"}


def folder_with(
    path: Path, entities: list[dict[str, Any]] | None = None, templates: list[dict[str, Any]] | None = None
) -> Path:
    for name, rows in (
        ("entities.jsonl", [ENTITY] if entities is None else entities),
        ("templates.jsonl", [TEMPLATE, FREE] if templates is None else templates),
    ):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (path / name).write_text(text, encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(SuiteError) as caught:
        read_tables(path, PERSON)
    return str(caught.value)


class TestReading:
    def test_rows_become_frozen_values_in_order(self, tmp_path: Path) -> None:
        tables = read_tables(folder_with(tmp_path), PERSON)
        assert tables.entities == (
            EntityFacts("Ann", "train", (("Birthplace", "Oslo"), ("Language", "Greek"))),
        )
        assert tables.templates == (
            Template("%s comes from", "Birthplace", "val"),
            Template("I met %s at", None, "test", "Ann"),
        )

    def test_attributes_need_templates_and_values_and_keep_the_type_order(self, tmp_path: Path) -> None:
        asks_language = {**TEMPLATE, "attribute": "Language", "template": "%s speaks"}
        asks_job = {**TEMPLATE, "attribute": "Profession", "template": "%s works as a"}
        blank = {**ENTITY, "values": {**ENTITY["values"], "Profession": "  "}}  # type: ignore[dict-item]
        tables = read_tables(folder_with(tmp_path, [blank], [asks_job, asks_language, TEMPLATE]), PERSON)
        assert tables.attributes() == ("Birthplace", "Language")

    def test_templates_for_and_facts(self, tmp_path: Path) -> None:
        tables = read_tables(folder_with(tmp_path), PERSON)
        assert [t.text for t in tables.templates_for("Birthplace")] == ["%s comes from"]
        assert [t.text for t in tables.templates_for(None)] == ["I met %s at"]
        assert tables.facts("Ann").partition == "train"
        with pytest.raises(SuiteError, match="did you mean 'Ann'"):
            tables.facts("ann")
        with pytest.raises(SuiteError, match="did you mean 'Birthplace'"):
            tables.templates_for("birthplace")

    def test_one_text_may_ask_and_be_attribute_free(self, tmp_path: Path) -> None:
        both = [TEMPLATE, {**TEMPLATE, "attribute": None}]
        assert len(read_tables(folder_with(tmp_path, templates=both), PERSON).templates) == 2

    @settings(max_examples=40, deadline=None)
    @given(data=st.data())
    def test_written_tables_read_back_equal(
        self, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="%"), min_size=1)
        names = data.draw(st.lists(text.filter(str.strip), min_size=1, max_size=4, unique=True))
        partition = st.sampled_from(PARTITIONS)
        attributes = st.permutations([a.name for a in PERSON.attributes])
        entities = [
            EntityFacts(
                name,
                data.draw(partition),
                tuple((a, data.draw(text | st.just(""))) for a in data.draw(attributes)[:3]),
            )
            for name in names
        ]
        templates = [Template("%s" + name, None, data.draw(partition), name) for name in names]
        tables = tables_from(PERSON, [Located(e, "") for e in entities], [Located(t, "") for t in templates])
        folder = tmp_path_factory.mktemp("tables")
        write_tables(tables, folder)
        assert read_tables(folder, PERSON) == tables


class TestRefusals:
    @pytest.mark.parametrize(
        ("row", "complaint"),
        [
            ({"entity": "  "}, "an entity's name at line 1 of "),
            ({"entity": 7}, "an entity's name at line 1 of "),
            ({"partition": "dev"}, r"one of train, val, test; got 'dev'"),
            ({"values": {}}, "values for 'Ann' at line 1 of .*; got none"),
            ({"values": None}, "values for 'Ann' at line 1 of .*; got none"),
            ({"values": ["Oslo"]}, "got a list"),
            ({"values": {"Birthplce": "Oslo"}}, "did you mean 'Birthplace'"),
            ({"values": {"Birthplace": 7}}, "text as the Birthplace of 'Ann' at line 1 of .*; got 7"),
        ],
    )
    def test_entities(self, tmp_path: Path, row: dict[str, Any], complaint: str) -> None:
        message = refusal(folder_with(tmp_path, [{**ENTITY, **row}]))
        assert re.search(complaint, message), message
        assert "entities.jsonl" in message

    @pytest.mark.parametrize(
        ("row", "complaint"),
        [
            ({"template": "nobody comes from"}, "got no %s in 'nobody comes from'"),
            ({"template": "%s and %s come from"}, "got 2 of them in"),
            ({"template": "100% of %s is in"}, "got another % beside it in"),
            ({"template": None}, "a template at line 2 of .*; got None"),
            ({"attribute": "Birth"}, "attribute of invented_person at line 2 of"),
            ({"partition": None}, "a partition at line 2 of .*; got None"),
            ({"entity": 3}, "an entity's name or null at line 2 of .*; got 3"),
            ({"entity": "Bob"}, "line 2 of .* to be in the table of entities; got 'Bob'"),
            (
                {"template": "%s comes from"},
                "each template once; got '%s comes from' at line 1 of .* line 2 of",
            ),
        ],
    )
    def test_templates(self, tmp_path: Path, row: dict[str, Any], complaint: str) -> None:
        second = {**TEMPLATE, "template": "%s was born in", **row}
        message = refusal(folder_with(tmp_path, templates=[TEMPLATE, second]))
        assert re.search(complaint, message), message
        assert "templates.jsonl" in message

    def test_an_entity_twice(self, tmp_path: Path) -> None:
        message = refusal(folder_with(tmp_path, [ENTITY, ENTITY]))
        assert re.search(r"each entity once; got 'Ann' at line 1 of .* and again at line 2 of", message)

    def test_missing_and_unknown_keys(self, tmp_path: Path) -> None:
        message = refusal(folder_with(tmp_path, [{**ENTITY, "colour": "red"}]))
        assert "exactly the keys entity, partition, values at line 1 of" in message

    def test_malformed_line(self, tmp_path: Path) -> None:
        folder_with(tmp_path)
        with (tmp_path / "templates.jsonl").open("a", encoding="utf-8") as stream:
            stream.write('{"attribute": \n')
        assert "one JSON object on line 3 of" in refusal(tmp_path)

    def test_other_encoding(self, tmp_path: Path) -> None:
        folder_with(tmp_path)
        (tmp_path / "entities.jsonl").write_bytes('{"entity": "Zoë"}\n'.encode("latin-1"))
        assert re.search(r"UTF-8 text in .*entities\.jsonl; got byte 0xeb", refusal(tmp_path))

    @pytest.mark.parametrize("empty", [{"entities": []}, {"templates": []}])
    def test_nothing_in_a_file(self, tmp_path: Path, empty: dict[str, Any]) -> None:
        assert "entities and templates of type invented_person; got " in refusal(
            folder_with(tmp_path, **{"templates": [TEMPLATE], **empty})
        )

    def test_no_folder(self, tmp_path: Path) -> None:
        assert "a file at" in refusal(tmp_path / "nowhere")


class TestBundled:
    @pytest.mark.parametrize("name", ["city", "invented_person"])
    def test_shipped_tables_have_every_attribute(self, name: str) -> None:
        tables = read_bundled(name)
        assert isinstance(tables, Tables)
        assert tables.attributes() == tuple(a.name for a in tables.entity_type.attributes)
        assert all(len(facts.values) == len(tables.attributes()) for facts in tables.entities)

    def test_a_type_of_the_release_is_not_shipped(self) -> None:
        with pytest.raises(
            SuiteError, match=r"bundled entity type \(city, invented_person\); got 'verb'.*--data"
        ):
            read_bundled("verb")

    def test_changed_files_are_noticed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        shutil.copytree(bundled_path("city"), tmp_path / "city")
        monkeypatch.setattr("ravel.facts.tables.bundled_path", lambda name: tmp_path / name)
        read_bundled("city")
        with (tmp_path / "city" / "entities.jsonl").open("a", encoding="utf-8") as stream:
            stream.write("\n")
        with pytest.raises(
            SuiteError, match=r"entities\.jsonl as it was shipped; got a file with another checksum"
        ):
            read_bundled("city")
