"""Batteries over every entity type: declarations; each gold value is stated by itself, not by others."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import permutations

import pytest
from release_data import RELEASE, TYPES, needs_release

from ravel.common.errors import SuiteError
from ravel.entity_types import ENTITY_TYPES
from ravel.facts.release import read_release
from ravel.facts.tables import Tables, read_bundled
from ravel.matching import MatchMode
from ravel.terms.schema import Attribute

BUNDLED = ("city", "invented_person")
CLOSE_VALUES = ("Timezone", "Latitude", "Longitude")


@cache
def tables_of(source: str, name: str) -> Tables:
    return read_bundled(name) if source == "bundled" else read_release(RELEASE, name)


SOURCES = [
    *(("bundled", name) for name in BUNDLED),
    *(pytest.param("release", name, marks=needs_release) for name in TYPES),
]


def values_by_attribute(tables: Tables) -> Iterator[tuple[Attribute, list[str]]]:
    for attribute in tables.entity_type.attributes:
        values = {value for f in tables.entities for name, value in f.values if name == attribute.name}
        yield attribute, sorted(value for value in values if value.strip())


class TestDeclarations:
    def test_which_types_there_are_and_where_they_come_from(self) -> None:
        assert ENTITY_TYPES.names() == sorted({*BUNDLED, *TYPES})
        assert [t.name for t in ENTITY_TYPES if t.bundled] == sorted(BUNDLED)
        assert [t.name for t in ENTITY_TYPES if t.release] == sorted(TYPES)

    def test_every_type_says_what_it_is(self) -> None:
        for entity_type in ENTITY_TYPES:
            names = [attribute.name for attribute in entity_type.attributes]
            assert len(names) == len(set(names)) >= 3
            assert entity_type.licence
            assert entity_type.description
            assert all(attribute.description for attribute in entity_type.attributes)
            assert entity_type.bundled or entity_type.release

    def test_an_unknown_type_or_attribute_suggests_near_misses(self) -> None:
        with pytest.raises(SuiteError, match=r"known entity type; got 'citty'.*did you mean 'city'"):
            ENTITY_TYPES.get("citty")
        with pytest.raises(SuiteError, match=r"attribute of city; got 'Continnt'.*did you mean 'Continent'"):
            ENTITY_TYPES.get("city").attribute("Continnt")

    def test_tolerance_is_for_coordinates_and_zones_only(self) -> None:
        tolerant = {a.name for t in ENTITY_TYPES for a in t.attributes if a.matcher.tolerance}
        assert tolerant == set(CLOSE_VALUES)


@pytest.mark.parametrize(("source", "name"), SOURCES)
class TestGoldValues:
    @pytest.mark.parametrize("mode", ["strict", "reference"])
    def test_each_is_stated_by_itself(self, source: str, name: str, mode: MatchMode) -> None:
        for attribute, values in values_by_attribute(tables_of(source, name)):
            missed = [v for v in values if not attribute.matcher.matches(f" {v}", v, mode=mode)]
            assert missed == [], attribute.name

    def test_none_is_stated_by_its_first_letter(self, source: str, name: str) -> None:
        for attribute, values in values_by_attribute(tables_of(source, name)):
            longer = [value for value in values if len(value) > 1 and not value.isdigit()]
            hit = [value for value in longer if attribute.matcher.matches(value[0], value)]
            assert hit == [], attribute.name

    def test_blank_answers_state_nothing(self, source: str, name: str) -> None:
        for attribute, values in values_by_attribute(tables_of(source, name)):
            assert not any(
                attribute.matcher.matches(blank, v) for v in values for blank in ("", " ", "\n", '"')
            )


@pytest.mark.parametrize("name", BUNDLED)
def test_no_bundled_value_is_taken_for_another(name: str) -> None:
    for attribute, values in values_by_attribute(tables_of("bundled", name)):
        if attribute.name not in CLOSE_VALUES:
            mixed = [(u, v) for u, v in permutations(values, 2) if attribute.matcher.matches(f" {u}.", v)]
            assert mixed == [], attribute.name


@pytest.mark.parametrize(
    ("name", "attribute", "value", "said"),
    [
        ("city", "Country", "United States", " the USA."),
        ("city", "Country", "United Kingdom", " England,"),
        ("city", "Country", "South Korea", " Korea"),
        ("city", "Continent", "North America", " N. America"),
        ("city", "Language", "Mandarin", " Chinese"),
        ("city", "Language", "English,Maori", " Maori"),
        ("city", "Timezone", "Asia/Tokyo", "+09:00"),
        ("nobel_prize_winner", "Gender", "male", " his work"),
        ("nobel_prize_winner", "Gender", "female", " She"),
        ("nobel_prize_winner", "Field", "Medicine", " Physiology or Medicine"),
        ("verb", "Definition", "to get rid of something, to remove something", " remove something"),
        ("verb", "Pronunciation", "/\u0259\u02c8b\u00e6nd\u0259n/", "\u0259\u02c8b\u00e6nd\u0259n/"),
        ("physical_object", "Size", "cm", 'centimeter"'),
        ("physical_object", "Texture", "soft", 'yes"'),
        ("physical_object", "Category", "non-living thing", "non-living things"),
        ("occupation", "Duty", "treat patients in hospitals", " to treat patients"),
    ],
)
def test_what_templates_elicit_counts_in_strict_mode(
    name: str, attribute: str, value: str, said: str
) -> None:
    assert ENTITY_TYPES.get(name).attribute(attribute).matcher.matches(said, value)


@pytest.mark.parametrize(
    ("name", "attribute", "value", "said"),
    [
        ("city", "Country", "Niger", " Nigeria"),
        ("city", "Latitude", "-34", " 34"),
        ("city", "Timezone", "Asia/Tokyo", " Asia/Seoul"),
        ("nobel_prize_winner", "Gender", "male", " female"),
        ("nobel_prize_winner", "Gender", "male", " hers"),
        ("verb", "Past Tense", "ate", " atex"),
        ("physical_object", "Size", "m", " mm"),
        ("physical_object", "Texture", "soft", " no"),
    ],
)
def test_what_is_close_but_wrong_does_not(name: str, attribute: str, value: str, said: str) -> None:
    assert not ENTITY_TYPES.get(name).attribute(attribute).matcher.matches(said, value)
