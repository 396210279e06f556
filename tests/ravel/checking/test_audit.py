"""The audit: figures a reader can count by hand, and those that the release is known for."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from release_data import RELEASE, needs_release

from ravel.checking.audit import audit_tables
from ravel.checking.audit_report import AttributeValues, AuditReport, NearDuplicates, PartitionCounts
from ravel.entity_types import ENTITY_TYPES
from ravel.facts.release import read_release
from ravel.facts.tables import Tables, read_bundled
from ravel.terms.schema import EntityFacts, Partition, Template

OBJECT = ENTITY_TYPES.get("physical_object")


def thing(name: str, partition: Partition, **values: str) -> EntityFacts:
    return EntityFacts(name, partition, tuple(values.items()))


@pytest.fixture(scope="module")
def report() -> AuditReport:
    entities = (
        thing("oak", "train", Color="green", Size="m", Category="plant"),
        thing("fern", "train", Color="green", Size="cm", Category="plants"),
        thing("ice", "train", Color="white, clear", Size="cm"),
        thing("Ice", "val", Color="blanc\u221a\u00a9", Size=""),
        thing("tea", "test", Color="caf\u00e9", Size="m"),
        thing("gap", "test", Color="", Size=" "),
    )
    templates = (
        Template("oak is green. %s is", "Color", "train"),
        Template("soaking %s is", "Color", "val"),
        Template("Of what size is %s", "Size", "train"),
        Template("%s feels", "Texture", "test"),
        Template("Two %ss", None, "train", "oak"),
        Template("ice and %s", None, "val"),
        Template("%s feels", None, "val"),
    )
    return audit_tables(Tables(OBJECT, entities, templates))


def value_part(report: AuditReport, attribute: str) -> AttributeValues:
    return next(part for part in report.values if part.attribute == attribute)


def dependence(report: AuditReport, given: str, told: str) -> float:
    return next(d.share for d in report.dependences if (d.given, d.told) == (given, told))


class TestByHand:
    def test_counts(self, report: AuditReport) -> None:
        assert report.entities == PartitionCounts(3, 1, 2)
        parts = {p.attribute: (p.counts, p.with_demonstration, p.slot_at_end) for p in report.templates}
        assert parts == {
            "Color": (PartitionCounts(1, 1, 0), 1, 0),
            "Size": (PartitionCounts(1, 0, 0), 0, 1),
            "Texture": (PartitionCounts(0, 0, 1), 0, 0),
        }
        assert str(report.entities) == "6 (3/1/2)"

    def test_attribute_free_texts(self, report: AuditReport) -> None:
        free = report.attribute_free
        assert free.counts == PartitionCounts(1, 2, 0)
        assert free.for_any_entity == PartitionCounts(0, 2, 0)
        assert free.for_train_entity == PartitionCounts(1, 0, 0)
        assert (free.with_demonstration, free.slot_at_end) == (1, 1)

    def test_values(self, report: AuditReport) -> None:
        color = value_part(report, "Color")
        assert (color.stated, color.blank, color.absent, color.distinct) == (5, 1, 0, 4)
        assert (color.commonest, color.commonest_count, color.majority_share) == ("green", 2, 0.4)
        assert (color.with_comma, color.mojibake, color.non_ascii, color.negative) == (1, 1, 1, 0)
        assert (color.seen_val, color.seen_test) == (0.0, 0.0)
        size = value_part(report, "Size")
        assert (size.stated, size.blank, size.seen_val, size.seen_test) == (4, 2, None, 1.0)
        assert value_part(report, "Category").absent == 4

    def test_dependence_is_the_share_guessed_right_from_the_other(self, report: AuditReport) -> None:
        # Size m: oak green, tea cafe; cm: fern green, ice white: one of two right in each.
        assert dependence(report, "Size", "Color") == 0.5
        # Color green: one m and one cm; the other two colours stand alone: 3 of 4.
        assert dependence(report, "Color", "Size") == 0.75

    def test_odd_spots(self, report: AuditReport) -> None:
        assert report.near_duplicates == (
            NearDuplicates("entity", ("Ice", "ice")),
            NearDuplicates("Category", ("plant", "plants")),
        )
        assert report.glued_slots == ("Two %ss",)
        assert report.asked_and_free == report.across_partitions == ("%s feels",)
        assert report.held_twice == (
            NearDuplicates("entity", ("Ice", "ice")),
            NearDuplicates("template", ("%s feels",)),
        )
        assert report.without_values == ("Texture",)
        assert report.all_blank == ("gap",)

    def test_report_is_plain_json_and_readable(self, report: AuditReport) -> None:
        plain = json.loads(json.dumps(report.to_json(), allow_nan=False))
        assert plain["entities"] == {"train": 3, "val": 1, "test": 2}
        assert plain["without_values"] == ["Texture"]
        text = "\n".join(report.lines())
        assert "entities 6 (3/1/2)" in text
        assert "val none there" in text
        assert "nearly equal (entity): Ice / ice" in text
        assert all(len(line) < 200 for line in report.lines())

    def test_what_all_agree_on_depends_fully(self) -> None:
        same = [thing(name, "train", Color="red", Size="m") for name in "abc"]
        one = audit_tables(Tables(OBJECT, tuple(same), (Template("%s is", "Color", "train"),)))
        assert {d.share for d in one.dependences} == {1.0}
        assert value_part(one, "Color").majority_share == 1.0
        assert one.lines()[-1] == "  none"


class TestBundled:
    def test_invented_people_do_not_imply_anything(self) -> None:
        report = audit_tables(read_bundled("invented_person"))
        assert max(d.share for d in report.dependences) < 0.2
        assert not report.glued_slots
        assert not report.near_duplicates

    def test_cities_have_no_odd_spots(self) -> None:
        report = audit_tables(read_bundled("city"))
        assert report.lines()[-1] == "  none"
        assert dependence(report, "Country", "Language") == 1.0


@cache
def audited(name: str) -> AuditReport:
    return audit_tables(read_release(RELEASE, name))


def column(name: str, field: str) -> dict[str, Any]:
    return {part.attribute: getattr(part, field) for part in audited(name).values if getattr(part, field)}


@needs_release
class TestRelease:
    """Figures of the release counted from its files, which score readers should know."""

    @pytest.mark.parametrize(
        ("given", "told", "share"),
        [
            ("Country", "Continent", 1.00),
            ("Country", "Language", 0.90),
            ("Timezone", "Continent", 1.00),
            ("Timezone", "Country", 1.00),
            ("Timezone", "Language", 0.91),
            ("Language", "Continent", 0.81),
        ],
    )
    def test_dependence_of_city_attributes(self, given: str, told: str, share: float) -> None:
        assert dependence(audited("city"), given, told) == pytest.approx(share, abs=0.005)

    def test_the_country_implies_the_continent_and_the_zone_nearly_the_country(self) -> None:
        assert dependence(audited("city"), "Country", "Continent") == 1.0
        assert dependence(audited("city"), "Timezone", "Country") == pytest.approx(0.998, abs=0.0005)

    def test_verb_forms_are_one_to_one_with_the_verb(self) -> None:
        distinct = column("verb", "distinct")
        assert [distinct[a] for a in ("Past Tense", "Pronunciation", "Singular")] == [986] * 3
        shares = {(d.given, d.told): d.share for d in audited("verb").dependences}
        assert all(share == 1.0 for (given, _), share in shares.items() if given != "Definition")

    @pytest.mark.parametrize(
        ("name", "attribute", "value", "count", "share"),
        [
            ("nobel_prize_winner", "Gender", "male", 870, 0.94),
            ("physical_object", "Size", "cm", 404, 0.72),
            ("physical_object", "Texture", "soft", 339, 0.60),
            ("physical_object", "Category", "plant", 213, 0.38),
            ("city", "Country", "United States", 383, 0.11),
        ],
    )
    def test_majorities(self, name: str, attribute: str, value: str, count: int, share: float) -> None:
        part = value_part(audited(name), attribute)
        assert (part.commonest, part.commonest_count) == (value, count)
        assert part.majority_share == pytest.approx(share, abs=0.005)

    def test_novelty_of_held_out_values(self) -> None:
        for part in audited("verb").values:
            assert part.seen_val is not None
            assert part.seen_test is not None
            assert max(part.seen_val, part.seen_test) < 0.04
        duty, industry = (value_part(audited("occupation"), name) for name in ("Duty", "Industry"))
        assert [duty.seen_val, duty.seen_test] == pytest.approx([0.19, 0.19], abs=0.005)
        assert [industry.seen_val, industry.seen_test] == pytest.approx([0.76, 0.70], abs=0.005)
        for part in audited("city").values:
            assert part.seen_val is not None
            assert part.seen_test is not None
            assert min(part.seen_val, part.seen_test) >= 0.97

    def test_lists_and_encodings(self) -> None:
        assert column("city", "with_comma") == {"Language": 467}
        assert column("city", "mojibake") == {"Language": 64}
        assert column("city", "non_ascii") == {"Language": 11}
        assert column("city", "negative") == {"Latitude": 846, "Longitude": 1267}
        assert column("nobel_prize_winner", "with_comma") == {"Field": 2, "Award Year": 4}
        assert column("verb", "mojibake") == {}
        assert column("verb", "non_ascii") == {"Pronunciation": 986}

    def test_blank_rows(self) -> None:
        assert set(audited("nobel_prize_winner").all_blank) == {"Michael Houghton", "Satoshi &"}
        assert column("nobel_prize_winner", "blank") == dict.fromkeys(
            ["Field", "Award Year", "Birth Year", "Country of Birth", "Gender"], 2
        )
        tables = read_release(RELEASE, "nobel_prize_winner")
        assert tables.facts("Michael Houghton").partition == "val"
        assert tables.facts("Satoshi &").partition == "train"

    def test_spellings(self) -> None:
        assert audited("physical_object").near_duplicates == (
            NearDuplicates("entity", ("Amethyst", "amethyst")),
            NearDuplicates("Category", ("non-living thing", "non-living things")),
        )
        values = [v for f in read_release(RELEASE, "physical_object").entities for _, v in f.values]
        counts = [values.count(v) for v in ("non-living thing", "non-living things", "black and white")]
        assert counts == [185, 40, 1]

    def test_demonstrations(self) -> None:
        parts = {p.attribute: p for n in ("nobel_prize_winner", "verb") for p in audited(n).templates}
        field, singular = parts["Field"], parts["Singular"]
        assert (field.with_demonstration, field.counts.total) == (58, 64)
        assert (singular.with_demonstration, singular.counts.total) == (93, 93)

    def test_slots(self) -> None:
        assert audited("city").attribute_free.slot_at_end == 77
        assert all(part.slot_at_end == 0 for part in audited("city").templates)
        glued = {n: len(audited(n).glued_slots) for n in ("city", "nobel_prize_winner", "verb")}
        assert glued == {"city": 5, "nobel_prize_winner": 0, "verb": 26}
        assert any("%sfu" in text for text in audited("city").glued_slots)
        assert any("%ss," in text for text in audited("physical_object").glued_slots)

    def test_gender_bias_has_templates_but_no_values(self) -> None:
        assert audited("occupation").without_values == ("Gender Bias",)

    def test_zone_templates_that_want_an_offset(self) -> None:
        zones = read_release(RELEASE, "city").templates_for("Timezone")
        assert (sum("UTC" in template.text for template in zones), len(zones)) == (31, 73)

    def test_nobel_texts_that_ask_although_listed_as_attribute_free(self) -> None:
        report = audited("nobel_prize_winner")
        assert (len(report.asked_and_free), len(report.across_partitions)) == (15, 6)
        assert not audited("city").asked_and_free

    def test_what_lies_in_two_partitions(self) -> None:
        counts = {
            name: [part.what for part in audited(name).held_twice]
            for name in ("city", "nobel_prize_winner", "verb", "physical_object", "occupation")
        }
        assert counts == {
            "city": [],
            "nobel_prize_winner": ["template"] * 7,
            "verb": [],
            "physical_object": ["entity", "template", "template"],
            "occupation": [],
        }
        assert audited("physical_object").held_twice[0].spellings == ("Amethyst", "amethyst")
