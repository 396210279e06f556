"""Builds whose questions go through a chat template: what is asked, what is written down, what stays as it
was."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from answering_world import TableAnswerer, town_tables

from ravel.asking.chat import start_notes
from ravel.building import BuildConfig, build_instance
from ravel.common.errors import SuiteError
from ravel.common.schemas import schema_problems
from ravel.facts.tables import Tables, read_tables, write_tables
from ravel.instance import Instance
from ravel.terms.schema import SLOT

SMALL = BuildConfig(train_pairs=120, evaluation_pairs=24, keep_entities=32)


class Chatting(TableAnswerer):
    """Answers as the table does, and renders a chat; its tokenizer puts `<s>` before every text."""

    def in_chat(self, texts: Sequence[str]) -> list[str]:
        return [f"<s>user: {text.strip()} <end> model: " for text in texts]

    def own_start(self, text: str) -> str:
        return "<s>" if text.startswith("<s>") else ""

    def put_before(self, text: str) -> str:
        return "" if text.startswith("<s>") else "<s>"


def with_chat(tables: Tables, *, attribute: str) -> Tables:
    """Return the tables with `chat: true` in the templates of an attribute."""
    return replace(
        tables,
        templates=tuple(replace(t, chat=True) if t.attribute == attribute else t for t in tables.templates),
    )


def test_a_build_in_chat_asks_and_records_what_the_model_read(tmp_path: Path) -> None:
    tables = town_tables()
    answerer = Chatting(tables)
    instance = build_instance(tables, answerer, SMALL.model_copy(update={"chat": True}))
    assert all(text.startswith("<s>user: ") and text.endswith(" <end> model: ") for text in answerer.calls)
    for record in instance.prompts():
        start, end = record.prompt.span
        assert record.prompt.text[start:end] == record.prompt.entity
        assert record.prompt.template == record.prompt.text[:start] + SLOT + record.prompt.text[end:]
    manifest = instance.manifest.to_json()
    assert manifest["config"]["chat"] is True
    assert all(row["chat"] is True for row in manifest["templates"])
    assert start_notes(manifest["counts"]) == ["21 templates were asked through the model's chat template"]
    assert schema_problems(json.loads(json.dumps(manifest)), "manifest", origin="it") == []
    instance.save(tmp_path / "built")
    assert Instance.load(tmp_path / "built").fingerprint == instance.fingerprint


def test_only_the_templates_that_ask_for_it_go_through_the_chat() -> None:
    tables = with_chat(town_tables(), attribute="Colour")
    instance = build_instance(tables, Chatting(tables), SMALL)
    for record in instance.prompts():
        assert record.prompt.text.startswith("<s>user: ") == (record.prompt.attribute == "Colour")
    assert "chat" not in instance.manifest.config
    assert {bool(row.get("chat")) for row in instance.manifest.templates if row["attribute"] == "Colour"} == {
        True
    }
    assert not any("chat" in row for row in instance.manifest.templates if row["attribute"] != "Colour")


def test_without_chat_nothing_is_written_about_it() -> None:
    tables = town_tables()
    plain = build_instance(tables, TableAnswerer(tables), SMALL)
    assert build_instance(tables, Chatting(tables), SMALL).manifest == plain.manifest
    assert "chat" not in json.dumps(plain.manifest.to_json())
    assert "chat" not in SMALL.model_dump(mode="json")
    assert BuildConfig.from_mapping({"chat": True}, origin="a test").model_dump()["chat"] is True


def test_texts_that_begin_with_the_start_themselves_are_noted() -> None:
    tables = town_tables()
    begun = tuple(replace(t, text="<s>" + t.text) if t.attribute else t for t in tables.templates)
    tables = replace(tables, templates=begun)
    counts = build_instance(tables, Chatting(tables), SMALL).manifest.counts
    assert counts["own_start"] == {"<s>": 16}
    (note,) = start_notes(counts)
    assert note == "16 templates begin with <s>, which the tokenizer adds as well: the model reads it once"


def test_a_chat_that_does_not_begin_as_every_text_does_is_noted() -> None:
    class Bare(Chatting):
        def in_chat(self, texts: Sequence[str]) -> list[str]:
            return [f"user: {text} model: " for text in texts]

    tables = town_tables()
    counts = build_instance(tables, Bare(tables), SMALL.model_copy(update={"chat": True})).manifest.counts
    assert "the chat template does not begin with <s>, which the tokenizer puts before it" in start_notes(
        counts
    )


@pytest.mark.parametrize(("rendered", "came"), [("no text", "none of them"), ("{0} and {0}", "2 of them")])
def test_a_chat_template_that_loses_the_slot_is_refused(rendered: str, came: str) -> None:
    class Losing(Chatting):
        def in_chat(self, texts: Sequence[str]) -> list[str]:
            return [rendered.format(text) for text in texts]

    tables = with_chat(town_tables(), attribute="Height")
    with pytest.raises(SuiteError, match=came):
        build_instance(tables, Losing(tables), SMALL)


def test_an_answerer_without_chat_is_refused() -> None:
    tables = with_chat(town_tables(), attribute="Height")
    with pytest.raises(SuiteError, match="renders a chat template"):
        build_instance(tables, TableAnswerer(tables), SMALL)


def test_chat_stands_in_the_rows_of_templates_only_where_it_is_on(tmp_path: Path) -> None:
    tables = with_chat(town_tables(), attribute="Colour")
    write_tables(tables, tmp_path)
    assert read_tables(tmp_path, tables.entity_type) == tables
    rows = [json.loads(line) for line in (tmp_path / "templates.jsonl").read_text().splitlines()]
    assert all(("chat" in row) == (row["attribute"] == "Colour") for row in rows)
    rows[0]["chat"] = "yes"
    (tmp_path / "templates.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(SuiteError, match="true or false as chat at line 1"):
        read_tables(tmp_path, tables.entity_type)
