"""Dependence, skew and novelty by hand, by laws, and against what the official release is known for."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from answering_world import TOWN
from hypothesis import given
from hypothesis import strategies as st
from record_pairs import pair_of
from release_data import RELEASE, needs_release

from ravel.asking.prompts import fill
from ravel.checking.dependence import (
    Dependence,
    Skew,
    bound_attributes,
    dependences,
    preferred,
    read_dependence,
    read_skews,
    skews,
)
from ravel.checking.values import (
    SameValue,
    bundled_facts,
    normalised,
    partitions_of_instance,
    partitions_of_tables,
    values_of_instance,
    values_of_tables,
)
from ravel.common.errors import SuiteError
from ravel.common.io import write_jsonl
from ravel.facts.release import read_release
from ravel.facts.tables import Tables
from ravel.instance import Instance, PromptRecord
from ravel.terms.schema import EntityFacts, Template

LAND = {"a": "X", "b": "X", "c": "X", "d": "Y", "e": "Y"}
TONGUE = {"a": "p", "b": "p", "c": "q", "d": "q", "e": "q"}


def one(records: list[Dependence], first: str, second: str) -> Dependence:
    return next(r for r in records if (r.given, r.told) == (first, second))


class TestByHand:
    def test_a_pair_of_attributes(self) -> None:
        found = one(dependences({"Land": LAND, "Tongue": TONGUE}, "facts"), "Land", "Tongue")
        assert (found.n, found.given_values, found.told_values) == (5, 2, 2)
        # Land X says p (2 of 3), Land Y says q (2 of 2); blindly q, 3 of 5.
        assert (found.share, found.majority) == (0.8, 0.6)
        assert found.reduction == pytest.approx(0.5)
        # Without themselves a and b see p against q: a tie. c sees p, p: wrong. d and e see q: right.
        assert found.left_out == pytest.approx((0.5 + 0.5 + 0 + 1 + 1) / 5)
        # Blindly, without themselves: a and b see q; each of the others sees two of either: a tie.
        blind = (0 + 0 + 0.5 * 3) / 5
        assert found.reduction_left_out == pytest.approx((0.6 - blind) / (1 - blind))

    def test_as_many_values_as_entities_tell_everything_and_nothing(self) -> None:
        names = {entity: entity for entity in LAND}
        found = one(dependences({"Name": names, "Tongue": TONGUE}, "facts"), "Name", "Tongue")
        assert (found.share, found.reduction) == (1.0, 1.0)
        assert found.left_out == pytest.approx(0.3)
        assert found.reduction_left_out == 0.0
        assert not found.bound

    def test_one_value_leaves_nothing_to_reduce(self) -> None:
        found = one(
            dependences({"Land": LAND, "World": dict.fromkeys(LAND, "earth")}, "facts"), "Land", "World"
        )
        assert (found.share, found.majority, found.reduction, found.reduction_left_out) == (1, 1, None, None)
        assert not found.bound

    def test_entities_without_one_of_the_values_are_passed_over(self) -> None:
        found = dependences({"Land": LAND, "Tongue": {"a": "p", "z": "q"}, "Sea": {"z": "s"}}, "facts")
        assert one(found, "Land", "Tongue").n == 1
        assert {(r.given, r.told) for r in found} == {
            *(("Land", "Tongue"), ("Tongue", "Land"), ("Tongue", "Sea"), ("Sea", "Tongue")),
        }

    def test_what_is_bound_is_bound_both_ways(self) -> None:
        towns = {f"{land}{i}": land for land in "XYZ" for i in range(4)}
        coast = {town: "east" if land == "X" else "west" for town, land in towns.items()}
        found = dependences({"Land": towns, "Coast": coast}, "facts")
        assert [(r.given, r.told) for r in found if r.bound] == [("Land", "Coast")]
        assert bound_attributes(found) == {"Land": ("Coast",), "Coast": ("Land",)}

    def test_a_skewed_attribute_is_not_bound_to_everything(self) -> None:
        coin = {str(i): "heads" if i % 2 else "tails" for i in range(100)}
        rare = {str(i): "odd" if i < 6 else "plain" for i in range(100)}
        found = one(dependences({"Coin": coin, "Rare": rare}, "facts"), "Coin", "Rare")
        assert found.left_out > 0.9
        assert bound_attributes([found]) == {"Coin": (), "Rare": ()}

    def test_skew_and_novelty(self) -> None:
        partitions = {"a": "train", "b": "train", "c": "val", "d": "test", "e": "test"}
        (found,) = skews({"Tongue": {**TONGUE, "e": "r"}}, partitions, "facts")
        assert (found.n, found.values, found.commonest, found.majority) == (5, 3, "p", 0.4)
        assert (found.new_val, found.new_test) == (1.0, 1.0)
        (known,) = skews({"Land": LAND}, {**partitions, "e": "train"}, "facts")
        assert (known.new_val, known.new_test) == (0.0, 0.0)
        (alone,) = skews({"Land": LAND}, dict.fromkeys(LAND, "test"), "facts")
        assert (alone.new_val, alone.new_test) == (None, None)

    def test_blank_facts_are_no_values(self) -> None:
        entities = (
            EntityFacts("u", "train", (("Colour", "red"), ("Height", " "))),
            EntityFacts("v", "val", (("Colour", ""), ("Height", "7"))),
        )
        tables = Tables(TOWN, entities, (Template("%s is", "Colour", "train"),))
        assert values_of_tables(tables) == {"Colour": {"u": "red"}, "Height": {"v": "7"}}
        assert partitions_of_tables(tables) == {"u": "train", "v": "val"}

    def test_labels_of_one_class_are_one(self) -> None:
        assert {normalised(text) for text in (" France", 'france"', "FRANCE.", "  france ")} == {"france"}
        assert normalised(" North  America") == "north america"
        assert normalised("-12") == "-12"


VALUES = st.dictionaries(
    st.integers(0, 30).map(str), st.tuples(st.sampled_from("xyz"), st.sampled_from("pqrs")), min_size=1
)


class TestLaws:
    @given(VALUES)
    def test_shares_are_what_plain_counting_gives(self, values: dict[str, tuple[str, str]]) -> None:
        first, second = ({e: v[i] for e, v in values.items()} for i in (0, 1))
        found = one(dependences({"A": first, "B": second}, "facts"), "A", "B")
        assert found.left_out == pytest.approx(plain_left_out(first, second))
        assert 0 < found.majority <= found.share <= 1
        assert found.reduction is None or 0 <= found.reduction <= 1
        assert found.reduction_left_out is None or found.reduction_left_out <= 1

    @given(VALUES)
    def test_names_of_values_and_order_change_nothing(self, values: dict[str, tuple[str, str]]) -> None:
        first, second = ({e: v[i] for e, v in values.items()} for i in (0, 1))
        renamed = {e: {"p": "s", "s": "q", "q": "r", "r": "p"}[v] for e, v in reversed(second.items())}
        assert dependences({"A": first, "B": second}, "facts") == dependences(
            {"A": first, "B": renamed}, "facts"
        )


def plain_left_out(first: dict[str, str], second: dict[str, str]) -> float:
    """Guess every entity from the others, one by one."""
    chances = []
    for entity in first:
        others = [e for e in first if e != entity]
        alike = [e for e in others if first[e] == first[entity]] or others
        counts = Counter(second[e] for e in alike)
        modes = [v for v, n in counts.items() if n == max(counts.values())]
        chances.append((second[entity] in modes) / max(1, len(modes)))
    return sum(chances) / len(chances)


LABELS = {
    # attribute: {template: {town: label}}; the second way to ask for a zone answers in hours.
    "Zone": {"Zone: %s": {"u": " Paris", "v": " Paris", "w": " Lima"}, "Hours: %s": {"u": " +1", "x": " +1"}},
    "Land": {"Land: %s": {"u": " France", "v": "FRANCE.", "w": " Peru"}},
}


def instance(**manifest: object) -> Instance:
    """An instance of these labels; its pairs name all prompts."""
    prompts, pairs = [], []
    for attribute, by_template in LABELS.items():
        for text, answers in by_template.items():
            template = Template(text, attribute, "train")
            own = [
                PromptRecord(f"{text}-{town}", fill(template, town), label, (1,), None)
                for town, label in answers.items()
            ]
            prompts += own
            for base in own:
                for source in own:
                    if normalised(base.label) != normalised(source.label):
                        pairs.append(pair_of(f"p{len(pairs)}", base, source))
    hours = [record for record in prompts if record.prompt.template == "Hours: %s"]
    other = PromptRecord("Hours: %s-y", fill(Template("Hours: %s", "Zone", "train"), "y"), " -5", (1,), None)
    pairs += [pair_of(f"p{len(pairs) + i}", record, other) for i, record in enumerate(hours)]
    return Instance.from_parts(
        entity_type="town",
        model_name="m",
        model_fingerprint="f",
        prompts=[*prompts, other],
        pairs={"train": pairs[:-1], "entity_test": pairs[-1:]},
        **manifest,  # type: ignore[arg-type]
    )


class TestInstances:
    def test_the_commonest_label_is_an_entitys_value(self) -> None:
        values = values_of_instance(instance())
        assert values["Land"] == {"u": "france", "v": "france", "w": "peru"}
        assert values["Zone"] == {"u": "+1", "v": "paris", "w": "lima", "x": "+1", "y": "-5"}

    def test_same_is_decided_within_templates_then_by_facts_then_by_the_commonest_label(self) -> None:
        same = SameValue(instance())
        # Their commonest labels differ, yet the template that both were asked says the same.
        assert same("Zone", "u", "v") is True
        assert same("Zone", "u", "w") is False
        assert same("Zone", "v", "x") is False
        assert SameValue(instance(), {"Zone": {"v": "CET", "x": "CET"}})("Zone", "v", "x") is True
        assert SameValue(instance(), {"Zone": {"u": "CET", "v": "other"}})("Zone", "u", "v") is True
        assert same("Land", "u", "x") is None
        assert same("Land", "x", "x") is True

    def test_partitions_come_from_the_manifest_or_from_the_splits(self) -> None:
        assert partitions_of_instance(instance()) == {"u": "train", "v": "train", "w": "train", "x": "test"}
        listed = instance(entities={"train": ["u", "v", "w"], "test": ["x", "y"]})
        assert partitions_of_instance(listed)["y"] == "test"

    def test_facts_are_at_hand_only_for_bundled_types_with_all_entities(self) -> None:
        assert bundled_facts(instance()) is None


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    found = dependences({"Land": LAND, "Tongue": TONGUE}, "labels")
    skew = skews({"Land": LAND}, {}, "labels")
    write_jsonl(tmp_path / "d.jsonl", (r.to_json() for r in found))
    write_jsonl(tmp_path / "s.jsonl", (r.to_json() for r in skew))
    assert read_dependence(tmp_path / "d.jsonl") == found
    assert read_skews(tmp_path / "s.jsonl") == skew
    newer = {**found[0].to_json(), "schema_version": 99}
    (tmp_path / "d.jsonl").write_text(json.dumps(newer) + "\n")
    with pytest.raises(SuiteError, match=r"schema version 1 in .*line 1; got version 99, which is newer"):
        read_dependence(tmp_path / "d.jsonl")


def test_facts_are_preferred_to_labels() -> None:
    facts, labels = (dependences({"Land": LAND, "Tongue": TONGUE}, source) for source in ("facts", "labels"))
    assert preferred([*labels, *facts]) == facts
    assert preferred(labels) == labels


@needs_release
class TestRelease:
    """Known figures of the release, to two decimals."""

    @pytest.mark.parametrize(
        ("first", "second", "share"),
        [
            ("Country", "Continent", 1.00),
            ("Country", "Language", 0.90),
            ("Timezone", "Continent", 1.00),
            ("Timezone", "Country", 1.00),
            ("Timezone", "Language", 0.91),
            ("Language", "Continent", 0.81),
        ],
    )
    def test_cities(self, first: str, second: str, share: float) -> None:
        found = one(of_release("city"), first, second)
        assert round(found.share, 2) == share
        # Hundreds of cities share a country, so that the figure is no artefact of rare values.
        assert found.share - found.left_out < 0.015
        assert found.bound

    def test_verbs_tell_everything_and_nothing(self) -> None:
        for record in of_release("verb"):
            assert record.share > 0.97
            assert record.left_out == pytest.approx(0.0, abs=0.001)
            assert not record.bound

    @pytest.mark.parametrize(
        ("entity_type", "attribute", "share"),
        [
            ("nobel_prize_winner", "Gender", 0.94),
            ("physical_object", "Size", 0.72),
            ("physical_object", "Texture", 0.60),
            ("physical_object", "Category", 0.38),
            ("city", "Country", 0.11),
        ],
    )
    def test_majorities(self, entity_type: str, attribute: str, share: float) -> None:
        assert round(skew_of(entity_type, attribute).majority, 2) == share

    def test_novelty(self) -> None:
        assert skew_of("verb", "Past Tense").new_test == 1.0
        assert round(1 - (skew_of("occupation", "Duty").new_val or 0.0), 2) == 0.19
        assert round(1 - (skew_of("occupation", "Industry").new_val or 0.0), 2) == 0.76
        assert (skew_of("city", "Timezone").new_test or 1.0) <= 0.03


def of_release(entity_type: str) -> list[Dependence]:
    return dependences(values_of_tables(read_release(RELEASE, entity_type)), "facts")


def skew_of(entity_type: str, attribute: str) -> Skew:
    tables = read_release(RELEASE, entity_type)
    found = skews(values_of_tables(tables), partitions_of_tables(tables), "facts")
    return next(record for record in found if record.attribute == attribute)
