"""Whatever a build makes passes the leak checks; what does not leak is built as before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from answering_world import TOWN, TableAnswerer, town_name, town_tables
from hypothesis import given, settings
from hypothesis import strategies as st
from leaking_world import counts, errors
from release_data import RELEASE, needs_release

from ravel.asking.prompts import fill
from ravel.building import BuildConfig, build_instance
from ravel.building.import_pairs import instance_from_release_pairs
from ravel.entity_types import ENTITY_TYPES
from ravel.facts.release import read_release
from ravel.facts.tables import Tables, read_bundled
from ravel.instance import Instance, PromptRecord
from ravel.instance.release_pairs import ReleasePair, write_release_pairs
from ravel.pairing.pairs import DrawRules, Question, draw_pairs
from ravel.terms.schema import (
    PARTITIONS,
    SLOT,
    SOURCE_KINDS,
    EntityFacts,
    InterchangePair,
    Partition,
    Template,
)

SMALL = BuildConfig(train_pairs=40, evaluation_pairs=20)


def built(tables: Tables, config: BuildConfig = SMALL) -> Instance:
    """Build with the table's own answers."""
    return build_instance(tables, TableAnswerer(tables), config)


partitions = st.sampled_from(PARTITIONS)
towns = st.integers(0, 23)
wordings = st.sampled_from([str, str.upper, str.title, lambda text: text.replace(" ", "  ")])


@st.composite
def demonstrations(draw: st.DrawFn) -> Template:
    """Draw a few-shot template, or a text, that names one or two towns of the data."""
    names = [town_name(draw(towns)) for _ in range(draw(st.integers(1, 2)))]
    attribute = draw(st.sampled_from(["Colour", "Height", None]))
    bound = names[0] if attribute is None and draw(st.booleans()) else None
    return Template(f"{', '.join(names)} and {SLOT} are", attribute, draw(partitions), bound)


@st.composite
def leaking_tables(draw: st.DrawFn) -> Tables:
    """Draw tables with demonstrations, templates and towns in two partitions, and texts that ask."""
    tables = town_tables(n_entities=24, n_templates=4)
    templates = {(t.text, t.attribute is None): t for t in tables.templates}
    extra = draw(st.lists(demonstrations(), max_size=8))
    for template in draw(st.lists(st.sampled_from(tables.templates), max_size=4)):
        text = draw(wordings)(template.text).replace("%S", SLOT)
        attribute = draw(st.sampled_from([template.attribute, None]))
        extra.append(Template(text, attribute, draw(partitions)))
    for template in extra:
        templates.setdefault((template.text, template.attribute is None), template)
    entities = {facts.entity: facts for facts in tables.entities}
    for facts in draw(st.lists(st.sampled_from(tables.entities), max_size=4)):
        other = EntityFacts(draw(wordings)(facts.entity), draw(partitions), facts.values)
        entities.setdefault(other.entity, other)
    return Tables(TOWN, tuple(entities.values()), tuple(templates.values()))


@given(leaking_tables(), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_no_build_leaks_whatever_the_tables_hold(tables: Tables, seed: int) -> None:
    instance = built(tables, SMALL.model_copy(update={"seed": seed}))
    assert errors(instance) == set()
    assert "text_asks" not in counts(instance)


@pytest.mark.parametrize("name", [entity_type.name for entity_type in ENTITY_TYPES if entity_type.bundled])
def test_no_build_of_bundled_tables_leaks(name: str) -> None:
    config = BuildConfig(max_entities=30, train_pairs=300, evaluation_pairs=60)
    instance = built(read_bundled(name), config)
    assert len(instance.splits()) == 7
    assert errors(instance) == set()
    assert "left_out_as_doubles" not in instance.manifest.counts


@needs_release
@pytest.mark.slow
@pytest.mark.parametrize("name", [entity_type.name for entity_type in ENTITY_TYPES if entity_type.release])
def test_no_build_of_the_release_leaks(name: str) -> None:
    config = BuildConfig(max_entities=40, train_pairs=1000, evaluation_pairs=200)
    instance = built(read_release(RELEASE, name), config)
    assert errors(instance) == set()
    assert instance.manifest.counts["prompts"]["dropped_named_twice"] > 0


def test_what_does_not_leak_is_built_as_before() -> None:
    config = BuildConfig(train_pairs=60, evaluation_pairs=12)
    # The fingerprint of the same build before anything was left out as a leak.
    assert built(town_tables(), config).fingerprint.startswith("c4f49710557da8e7")


def with_templates(*extra: Template) -> Tables:
    """Add templates to the towns."""
    tables = town_tables()
    return replace(tables, templates=(*tables.templates, *extra))


def asked_of(instance: Instance, text: str) -> set[str]:
    return {record.prompt.entity for record in instance.prompts() if record.prompt.template == text}


def test_a_demonstration_is_asked_of_all_but_its_own_entity() -> None:
    shown = town_name(4)
    few_shot = Template(f"{shown} is red, {SLOT} is", "Colour", "train")
    instance = built(with_templates(few_shot), SMALL.model_copy(update={"train_pairs": 4000}))
    asked = asked_of(instance, few_shot.text)
    assert len(asked) > 20
    assert shown not in asked
    partners = {
        pair.base_entity
        for pair in instance.pairs("train")
        if instance.prompt(pair.source).prompt.template == few_shot.text
    }
    assert len(partners) > 15
    assert shown not in partners
    assert shown in {pair.base_entity for pair in instance.pairs("train")}
    assert instance.manifest.counts["prompts"]["dropped_named_twice"] == 1


@pytest.mark.parametrize(
    ("mine", "other", "kept"), [("train", "test", "train"), ("test", "val", "val"), ("val", "train", "train")]
)
def test_of_templates_in_two_partitions_the_earlier_stays(
    mine: Partition, other: Partition, kept: Partition
) -> None:
    lower = Template(f"the colour of {SLOT} is", "Colour", mine)
    upper = Template(f"The colour of  {SLOT} is", "Colour", other)
    instance = built(with_templates(lower, upper))
    left = lower if mine == kept else upper
    stated = {row["template"] for row in instance.manifest.templates}
    assert stated & {lower.text, upper.text} == {left.text}
    assert instance.manifest.counts["left_out_as_doubles"] == [({lower, upper} - {left}).pop().text]


def test_a_text_that_asks_is_left_out_wherever_it_lies() -> None:
    question = town_tables().templates[0]
    instance = built(with_templates(Template(question.text, None, question.partition)))
    assert instance.manifest.counts["left_out_as_doubles"] == [question.text]
    assert counts(instance).get("text_asks") is None


@pytest.mark.parametrize("write", [str.upper, str.lower])
def test_of_entities_in_two_partitions_the_earlier_stays(write: Callable[[str], str]) -> None:
    tables = town_tables()
    known = tables.entities[0]
    twin = EntityFacts(write(known.entity), "test", known.values)
    instance = built(replace(tables, entities=(*tables.entities, twin)))
    assert instance.manifest.counts["left_out_as_doubles"] == [twin.entity]
    assert known.entity in instance.manifest.entities["train"]
    assert twin.entity not in instance.manifest.entities["test"]


def question(names: list[str]) -> Question:
    """One template; the label of entity i is a letter, `a` again after `c`."""
    labels = ["abc"[index % 3] for index in range(len(names))]
    records = tuple(
        PromptRecord(f"q{index}", fill(Template("T %s:", "A", "train"), name), label, (ord(label),), True)
        for index, (name, label) in enumerate(zip(names, labels, strict=True))
    )
    return Question("T %s:", records)


def draw(names: list[str], barred: Mapping[str, list[str]] | None = None) -> list[InterchangePair]:
    """Draw all pairs there are; each entity has two source prompts of each kind."""
    sources = {
        kind: {name: [f"{kind}{j}{name}" for j in range(2)] for name in names} for kind in SOURCE_KINDS
    }
    rules = DrawRules(10**6, dict.fromkeys(SOURCE_KINDS, 1.0), 10.0, 3)
    return draw_pairs([question(names)], sources, rules, seed=0, split="train", attribute="A", barred=barred)


@given(st.integers(2, 6), st.data())
@settings(max_examples=40, deadline=None)
def test_exactly_the_barred_prompts_are_missing(count: int, data: st.DataObject) -> None:
    names = [f"e{index}" for index in range(count)]
    prompts = [f"{kind}{j}{name}" for kind in SOURCE_KINDS for j in range(2) for name in names]
    barred = data.draw(
        st.dictionaries(st.sampled_from(names), st.lists(st.sampled_from(prompts), max_size=9))
    )
    free = {(pair.base_entity, pair.source) for pair in draw(names)}
    left = {(pair.base_entity, pair.source) for pair in draw(names, barred)}
    assert free - left == {(base, source) for base, source in free if source in barred.get(base, [])}
    assert left <= free


def test_bars_against_others_change_no_draw() -> None:
    names = [f"e{index}" for index in range(6)]
    assert draw(names, {"someone else": ["same_attribute0e1"], "e3": []}) == draw(names)


def test_two_cases_of_a_name_are_never_paired() -> None:
    pairs = draw(["Fig", "fig", "plum"])
    assert {frozenset((pair.base_entity, pair.source_entity)) for pair in pairs} == {
        frozenset(("Fig", "plum")),
        frozenset(("fig", "plum")),
    }


def test_an_imported_leak_is_loaded_and_found(tmp_path: Path) -> None:
    shown = town_name(4)
    few_shot = Template(f"Like {shown}, {SLOT} is", "Colour", "train")
    tables = with_templates(few_shot)
    prompts = {name: fill(few_shot, name) for name in (shown, town_name(0))}
    said = {name: TableAnswerer(tables).complete([prompt], 8)[0].text for name, prompt in prompts.items()}
    labels = {name: text.partition(".")[0] for name, text in said.items()}
    row = ReleasePair(
        input=prompts[town_name(0)].text,
        label=labels[town_name(0)],
        source_input=prompts[shown].text,
        source_label=labels[shown],
        inv_label=labels[shown],
        split=few_shot.text,
        source_split=few_shot.text,
        entity=town_name(0),
        source_entity=shown,
    )
    write_release_pairs(tmp_path / "pairs.jsonl", [row, row])
    files = {"train": tmp_path / "pairs.jsonl", "entity_test": tmp_path / "pairs.jsonl"}
    instance = instance_from_release_pairs(files, tables, TableAnswerer(tables))
    instance.save(tmp_path / "instance")
    assert counts(Instance.load(tmp_path / "instance")) == {
        "held_out_entity": 2,
        "named_in_question": 4,
        "pair_in_two_splits": 2,
        "repeated_pair": 2,
        "held_out_demonstration": 2,
    }
