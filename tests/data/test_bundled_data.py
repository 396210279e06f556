"""Checks of the bundled data, read straight from the JSON Lines files."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "data"
OFFICIAL = ROOT.parent / "shared" / "ravel"
ATTRIBUTES = {
    "city": {"Country", "Continent", "Language", "Timezone", "Latitude", "Longitude"},
    "invented_person": {"Birthplace", "Profession", "Instrument", "Language"},
}
TYPES = sorted(ATTRIBUTES)
SHARES = {"train": 0.5, "val": 0.25, "test": 0.25}
both_types = pytest.mark.parametrize("kind", TYPES)


def rows(kind: str, name: str) -> list[dict[str, Any]]:
    text = (DATA / kind / name).read_bytes().decode("utf-8")
    assert text.endswith("\n")
    assert "\r" not in text
    return [json.loads(line) for line in text.split("\n")[:-1]]


def entities(kind: str) -> list[dict[str, Any]]:
    return rows(kind, "entities.jsonl")


def templates(kind: str) -> list[dict[str, Any]]:
    return rows(kind, "templates.jsonl")


def values(kind: str) -> dict[str, dict[str, str]]:
    return {row["entity"]: row["values"] for row in entities(kind)}


def by_attribute(kind: str) -> dict[str | None, list[dict[str, Any]]]:
    groups: dict[str | None, list[dict[str, Any]]] = defaultdict(list)
    for row in templates(kind):
        groups[row["attribute"]].append(row)
    return groups


def assert_partitions(partitions: list[str]) -> None:
    counts = Counter(partitions)
    assert set(counts) == set(SHARES)
    for partition, share in SHARES.items():
        assert abs(counts[partition] - share * len(partitions)) <= 1


@both_types
def test_checksums_match(kind: str) -> None:
    folder = DATA / kind
    sums = json.loads((folder / "checksums.json").read_text(encoding="utf-8"))
    present = {path.name for path in folder.iterdir()} - {"checksums.json"}
    assert set(sums) == present
    for name, expected in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == expected, name


@both_types
def test_keys_are_sorted_and_complete(kind: str) -> None:
    for row in entities(kind):
        assert list(row) == ["entity", "partition", "values"]
        assert list(row["values"]) == sorted(row["values"])
    for row in templates(kind):
        assert list(row) == ["attribute", "entity", "partition", "template"]


@both_types
def test_entities_are_unique_and_have_every_value(kind: str) -> None:
    found = entities(kind)
    names = [row["entity"] for row in found]
    assert len({name.casefold() for name in names}) == len(names)
    for row in found:
        assert set(row["values"]) == ATTRIBUTES[kind]
        for value in row["values"].values():
            assert isinstance(value, str)
            assert value
            assert value == value.strip()


def test_counts() -> None:
    assert 2000 <= len(entities("city")) <= 2400
    assert len(entities("invented_person")) == 1200
    for kind in TYPES:
        groups = by_attribute(kind)
        assert set(groups) == ATTRIBUTES[kind] | {None}
        assert len(groups[None]) >= 60
        for attribute in ATTRIBUTES[kind]:
            assert len(groups[attribute]) >= 24


@both_types
def test_partitions_are_50_25_25(kind: str) -> None:
    assert_partitions([row["partition"] for row in entities(kind)])
    for group in by_attribute(kind).values():
        assert_partitions([row["partition"] for row in group])


@both_types
def test_one_free_standing_slot(kind: str) -> None:
    for row in templates(kind):
        text = row["template"]
        assert text.count("%") == 1, text
        assert text.count("%s") == 1, text
        before, after = text.split("%s")
        assert not before or not before[-1].isalnum(), text
        assert not after or after[0] in " .,;:?!\"'|)<", text
        assert row["entity"] is None


@both_types
def test_attribute_templates_end_where_the_value_begins(kind: str) -> None:
    for row in templates(kind):
        text = row["template"]
        assert text == text.strip(), text
        if row["attribute"] is not None:
            assert not text.endswith("%s"), text
            assert text[-1] not in ".?!", text


@both_types
def test_templates_are_distinct(kind: str) -> None:
    texts = [re.sub(r"\s+", " ", row["template"]).casefold() for row in templates(kind)]
    assert [t for t, n in Counter(texts).items() if n > 1] == []


@both_types
def test_templates_are_short(kind: str) -> None:
    lengths = sorted(len(row["template"].split()) for row in templates(kind) if row["attribute"])
    assert sum(lengths) / len(lengths) < 16
    assert lengths[len(lengths) // 2] < 14
    for row in templates(kind):
        if row["attribute"] is None:
            assert 4 <= len(row["template"].split()) <= 14, row["template"]


@both_types
def test_suffix_lengths_vary(kind: str) -> None:
    for attribute, group in by_attribute(kind).items():
        lengths = {len(row["template"].split("%s")[1].split()) for row in group}
        assert len(lengths) >= 5, attribute


@both_types
def test_no_entity_is_a_demonstration(kind: str) -> None:
    names = set(values(kind))
    for row in templates(kind):
        text = re.sub(r"[A-Z]\w+/\w+", "", row["template"])
        hits = {n for n in names if n in text and re.search(rf"\b{re.escape(n)}\b", text)}
        assert not hits, row["template"]


@both_types
def test_no_template_is_an_official_one(kind: str) -> None:
    if not OFFICIAL.is_dir():
        pytest.skip(f"NOT CHECKED: no copy of the official RAVEL release at {OFFICIAL}")
    official: set[str] = set()
    for path in OFFICIAL.glob("ravel_*_attribute_to_prompts.json"):
        for texts in json.loads(path.read_text(encoding="utf-8")).values():
            official.update(text.strip() for text in texts)
    for path in OFFICIAL.glob("wikipedia_*_entity_prompts.json"):
        official.update(text.strip() for text in json.loads(path.read_text(encoding="utf-8")))
    assert official
    assert {row["template"].strip() for row in templates(kind)} & official == set()


def test_city_values_have_their_form() -> None:
    zones = available_timezones()
    for name, facts in values("city").items():
        assert re.fullmatch(r"0|-?[1-9]\d*", facts["Latitude"]), name
        assert re.fullmatch(r"0|-?[1-9]\d*", facts["Longitude"]), name
        assert abs(int(facts["Latitude"])) <= 90, name
        assert abs(int(facts["Longitude"])) <= 180, name
        assert re.fullmatch(r"[A-Z]\w+(/[A-Za-z_-]+)+", facts["Timezone"]), name
        assert not zones or facts["Timezone"] in zones, name
        for attribute in ("Country", "Continent", "Language"):
            assert re.fullmatch(r"[A-Z][A-Za-z' -]+", facts[attribute]), (name, facts[attribute])
    continents = {facts["Continent"] for facts in values("city").values()}
    assert continents == {"Africa", "Asia", "Europe", "North America", "Oceania", "South America"}


def test_city_names_have_their_form() -> None:
    facts = values("city")
    taken = {row[a].casefold() for row in facts.values() for a in ATTRIBUTES["city"]}
    for name in facts:
        assert re.fullmatch(r"[A-Za-z][A-Za-z .'-]*[A-Za-z]", name), name
        assert sum(c.isalpha() for c in name) >= 3
        assert name.casefold() not in taken


def test_ambiguous_cities() -> None:
    names = set(values("city"))
    # Two or more large cities of comparable size share each of these names.
    assert names.isdisjoint({"Hyderabad", "Birmingham", "Valencia", "Barcelona", "Suzhou"})
    # The namesakes of these are less than a tenth of their size; a city-state equals its country.
    assert {"London", "Paris", "Los Angeles", "Moscow"} <= names
    assert "Singapore" not in names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Paris", ("France", "Europe", "French", "Europe/Paris", "49", "2")),
        ("Tokyo", ("Japan", "Asia", "Japanese", "Asia/Tokyo", "36", "140")),
        ("Sydney", ("Australia", "Oceania", "English", "Australia/Sydney", "-34", "151")),
        ("London", ("United Kingdom", "Europe", "English", "Europe/London", "52", "0")),
        ("Novosibirsk", ("Russia", "Asia", "Russian", "Asia/Novosibirsk", "55", "83")),
        ("Ufa", ("Russia", "Europe", "Russian", "Asia/Yekaterinburg", "55", "56")),
        ("Abidjan", ("Ivory Coast", "Africa", "French", "Africa/Abidjan", "5", "-4")),
    ],
)
def test_known_cities(name: str, expected: tuple[str, ...]) -> None:
    facts = values("city")[name]
    order = ("Country", "Continent", "Language", "Timezone", "Latitude", "Longitude")
    assert tuple(facts[attribute] for attribute in order) == expected


def test_invented_names() -> None:
    facts = values("invented_person")
    words = {w.casefold() for row in facts.values() for v in row.values() for w in v.split()}
    last_names = []
    for name in facts:
        assert re.fullmatch(r"[A-Z][a-z]+ [A-Z][a-z]{4,8}", name), name
        assert not any(word in part for word in words for part in name.casefold().split()), name
        last_names.append(name.split()[1])
    assert len(set(last_names)) == len(last_names)
    ordered = sorted(last_names)
    assert not any(b.startswith(a) for a, b in pairwise(ordered))


def test_invented_attributes_are_balanced() -> None:
    facts = list(values("invented_person").values())
    sizes = {"Birthplace": 24, "Profession": 20, "Instrument": 16, "Language": 20}
    for attribute, size in sizes.items():
        counts = Counter(row[attribute] for row in facts)
        assert len(counts) == size
        assert set(counts.values()) == {len(facts) // size}
    for partition in SHARES:
        part = [r for r in entities("invented_person") if r["partition"] == partition]
        for attribute, size in sizes.items():
            counts = Counter(row["values"][attribute] for row in part)
            assert len(counts) == size
            assert max(counts.values()) < 2 * len(part) / size


@pytest.mark.parametrize("pair", list(combinations(sorted(ATTRIBUTES["invented_person"]), 2)))
def test_invented_attributes_are_independent(pair: tuple[str, str]) -> None:
    facts = list(values("invented_person").values())
    first, second = pair
    joint = Counter((row[first], row[second]) for row in facts)
    one, two = Counter(row[first] for row in facts), Counter(row[second] for row in facts)
    chi_square = 0.0
    for a, b in ((a, b) for a in one for b in two):
        expected = one[a] * two[b] / len(facts)
        chi_square += (joint[a, b] - expected) ** 2 / expected
    freedom = (len(one) - 1) * (len(two) - 1)
    # Within four standard deviations of the mean of a chi-square variable.
    assert abs(chi_square - freedom) < 4 * (2 * freedom) ** 0.5


def test_invented_first_names_say_little_about_values() -> None:
    groups: dict[str, list[dict[str, str]]] = defaultdict(list)
    for name, row in values("invented_person").items():
        groups[name.split()[0]].append(row)
    for attribute in ATTRIBUTES["invented_person"]:
        most = sum(max(Counter(row[attribute] for row in group).values()) for group in groups.values())
        # The commonest value of each first name; small groups alone give about a quarter.
        assert most / 1200 < 0.35, attribute
