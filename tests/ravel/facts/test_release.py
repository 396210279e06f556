"""The official release: all its known counts, the round trip, unsafe archives, the hub through a seam."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from release_data import RELEASE, TYPES, needs_release

import ravel.facts.release_source
from ravel.common.errors import SuiteError
from ravel.facts.release import read_release, release_files, write_release
from ravel.facts.release_hub import load_from_hub
from ravel.facts.tables import Tables, read_tables, write_tables
from ravel.terms.schema import Template

# (total, train, val, test)
ENTITIES = {
    "city": (3552, 1787, 818, 947),
    "nobel_prize_winner": (928, 460, 234, 234),
    "verb": (986, 510, 234, 242),
    "physical_object": (563, 276, 150, 137),
    "occupation": (799, 388, 210, 201),
}
# Templates as (train, val, test), and distinct values that are not blank.
ATTRIBUTES = {
    "city": {
        "Country": ((22, 11, 13), 158),
        "Continent": ((22, 10, 11), 6),
        "Latitude": ((20, 10, 12), 122),
        "Longitude": ((12, 7, 6), 317),
        "Language": ((20, 13, 11), 171),
        "Timezone": ((35, 22, 16), 267),
    },
    "nobel_prize_winner": {
        "Field": ((31, 16, 17), 8),
        "Award Year": ((35, 14, 17), 121),
        "Birth Year": ((30, 20, 18), 144),
        "Country of Birth": ((28, 24, 15), 80),
        "Gender": ((13, 11, 12), 2),
    },
    "verb": {
        "Definition": ((42, 27, 20), 965),
        "Singular": ((48, 24, 21), 986),
        "Past Tense": ((47, 24, 16), 986),
        "Pronunciation": ((49, 21, 20), 986),
    },
    "physical_object": {
        "Category": ((26, 15, 13), 4),
        "Color": ((21, 8, 8), 12),
        "Size": ((22, 9, 7), 4),
        "Texture": ((17, 13, 6), 2),
    },
    "occupation": {
        "Duty": ((12, 7, 6), 650),
        "Industry": ((18, 7, 9), 280),
        "Work Location": ((9, 8, 8), 128),
        "Gender Bias": ((4, 2, 2), 0),
    },
}
TEMPLATES = {
    "city": (273, 131, 73, 69),
    "nobel_prize_winner": (301, 137, 85, 79),
    "verb": (359, 186, 96, 77),
    "physical_object": (165, 86, 45, 34),
    "occupation": (92, 43, 24, 25),
}
PROMPTS = {
    "city": 969_696,
    "nobel_prize_winner": 279_328,
    "verb": 353_974,
    "physical_object": 92_895,
    "occupation": 73_508,
}
# total, (train, val, test), those for any entity.
FREE_TEXTS = {
    "city": (938, (311, 324, 303), 24),
    "nobel_prize_winner": (601, (323, 143, 135), 70),
    "verb": (1661, (347, 671, 643), 13),
    "physical_object": (938, (178, 379, 381), 20),
    "occupation": (873, (181, 360, 332), 20),
}
# Usable as attribute-free sources: val and test as (bound to an entity of train, any entity); train for any.
USABLE = {
    "city": ((318, 6), (297, 6), 12),
    "nobel_prize_winner": ((0, 5), (0, 5), 60),
    "verb": ((253, 3), (244, 3), 7),
    "physical_object": ((153, 5), (142, 5), 10),
    "occupation": ((130, 5), (120, 5), 10),
}


@cache
def release(name: str) -> Tables:
    return read_release(RELEASE, name)


def by_partition(rows: Iterable[Any]) -> tuple[int, int, int]:
    found = [row.partition for row in rows]
    return found.count("train"), found.count("val"), found.count("test")


@needs_release
@pytest.mark.parametrize("name", TYPES)
class TestOfficialCounts:
    def test_entities(self, name: str) -> None:
        entities = release(name).entities
        assert (len(entities), *by_partition(entities)) == ENTITIES[name]

    def test_templates_and_distinct_values_of_each_attribute(self, name: str) -> None:
        tables = release(name)
        assert {a.name for a in tables.entity_type.attributes} == set(ATTRIBUTES[name])
        for attribute, (templates, distinct) in ATTRIBUTES[name].items():
            values = {v for f in tables.entities for a, v in f.values if a == attribute and v}
            assert by_partition(tables.templates_for(attribute)) == templates, attribute
            assert len(values) == distinct, attribute

    def test_templates_in_all_and_prompts_of_a_full_instance(self, name: str) -> None:
        tables = release(name)
        asked = [template for template in tables.templates if template.attribute is not None]
        assert (len(asked), *by_partition(asked)) == TEMPLATES[name]
        assert len(asked) * len(tables.entities) == PROMPTS[name]

    def test_attribute_free_texts(self, name: str) -> None:
        free = release(name).templates_for(None)
        bound_to_any = [template for template in free if template.entity is None]
        assert (len(free), by_partition(free), len(bound_to_any)) == FREE_TEXTS[name]

    def test_which_attribute_free_texts_are_usable(self, name: str) -> None:
        tables = release(name)
        free = tables.templates_for(None)
        any_entity = by_partition(t for t in free if t.entity is None)
        bound = by_partition(t for t in free if t.entity and tables.facts(t.entity).partition == "train")
        assert ((bound[1], any_entity[1]), (bound[2], any_entity[2]), any_entity[0]) == USABLE[name]
        bound_in_train = sum(t.entity is not None and t.partition == "train" for t in free)
        assert bound[0] == bound_in_train, "every bound text of train has an entity of train"

    def test_every_template_has_one_slot_and_none_that_asks_ends_in_it(self, name: str) -> None:
        for template in release(name).templates:
            assert template.text.count("%s") == template.text.count("%") == 1
            assert template.attribute is None or not template.text.endswith("%s")


@needs_release
def test_totals_of_the_release() -> None:
    all_tables = [release(name) for name in TYPES]
    declared = [a.name for t in all_tables for a in t.entity_type.attributes]
    assert sum(len(t.entities) for t in all_tables) == 6_828
    assert len(declared) == 23
    assert sum(len(t.attributes()) for t in all_tables) == 22
    assert sum(t.attribute is not None for tables in all_tables for t in tables.templates) == 1_190
    assert sum(PROMPTS.values()) == 1_769_401


@needs_release
@pytest.mark.parametrize("name", TYPES)
class TestRoundTrip:
    def test_written_files_hold_the_json_of_the_original_in_its_order(
        self, name: str, tmp_path: Path
    ) -> None:
        write_release(release(name), tmp_path)
        for file in release_files(name).all():
            ours, theirs = ((folder / file).read_text("utf-8") for folder in (tmp_path, RELEASE))
            pairs = [json.loads(text, object_pairs_hook=list) for text in (ours, theirs)]
            assert pairs[0] == pairs[1], file
        assert read_release(tmp_path, name) == release(name)

    def test_every_value_keeps_its_bytes_through_json_lines_as_well(self, name: str, tmp_path: Path) -> None:
        write_tables(release(name), tmp_path)
        assert read_tables(tmp_path, release(name).entity_type) == release(name)
        original = json.loads((RELEASE / release_files(name).values).read_bytes())
        again = {f.entity: dict(f.values) for f in read_tables(tmp_path, release(name).entity_type).entities}
        assert again == original

    def test_an_archive_reads_like_the_folder(self, name: str, tmp_path: Path) -> None:
        with tarfile.open(tmp_path / "data.tgz", "w:gz") as archive:
            archive.add(RELEASE, arcname="data/base")
        assert read_release(tmp_path / "data.tgz", name) == release(name)


VALUES = {"red": {"Color": "red"}, "grass": {"Color": "green\u2028 "}}
SMALL: dict[str, Any] = {
    "ravel_physical_object_entity_attributes.json": VALUES,
    "ravel_physical_object_attribute_to_prompts.json": {"Color": ["%s is"], "Size": ["%s has size"]},
    "ravel_physical_object_entity_to_split.json": {"red": "train", "grass": "test"},
    "ravel_physical_object_prompt_to_split.json": {"%s is": "train", "%s has size": "val"},
    "wikipedia_physical_object_entity_prompts.json": {
        "A %s was": {"split": "val", "entity": "grass"},
        "Many %ss": {"split": "train", "entity": None},
    },
}


def write_small(folder: Path, changes: Mapping[str, Any] | None = None) -> Path:
    """Write a small release; a change gives the file whose name ends in its key new content or none."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in SMALL.items():
        for ending, new in (changes or {}).items():
            content = new if name.endswith(f"{ending}.json") else content
        if content is not None:
            text = content if isinstance(content, bytes) else json.dumps(content).encode()
            (folder / name).write_bytes(text)
    return folder


class TestFolders:
    def test_fields_become_tables(self, tmp_path: Path) -> None:
        tables = read_release(str(write_small(tmp_path)), "physical_object")
        assert [(f.entity, f.partition, f.values) for f in tables.entities] == [
            ("red", "train", (("Color", "red"),)),
            ("grass", "test", (("Color", "green\u2028 "),)),
        ]
        assert tables.templates == (
            Template("%s is", "Color", "train"),
            Template("%s has size", "Size", "val"),
            Template("A %s was", None, "val", "grass"),
            Template("Many %ss", None, "train"),
        )
        assert tables.attributes() == ("Color",), "Size has templates but no values"

    def test_files_may_lie_one_folder_down(self, tmp_path: Path) -> None:
        write_small(tmp_path / "data")
        assert len(read_release(tmp_path, "physical_object").entities) == 2

    @pytest.mark.parametrize(
        ("changes", "complaint"),
        [
            ({"entity_to_split": None}, r"ravel_physical_object_entity_to_split\.json in .*no such file"),
            ({"entity_attributes": b"{"}, r"JSON in .*entity_attributes\.json; got .* at line 1, column 2"),
            ({"entity_attributes": b"\xff"}, r"UTF-8 text in .*; got a wrong byte at offset 0"),
            ({"entity_attributes": []}, "a JSON object in .*; got a list"),
            ({"entity_attributes": b'{"a": {}, "a": {}}'}, "JSON in .*; got the key 'a' twice"),
            ({"entity_attributes": {**VALUES, "red": {}}}, "values for 'red' at 'red' in .*; got none"),
            ({"entity_attributes": {**VALUES, "red": {"Color": 3}}}, "text as the Color of 'red'.*got 3"),
            ({"entity_attributes": {"red": VALUES["red"]}}, "1 missing in .*entity_attributes.*'grass'"),
            ({"entity_to_split": {"red": "train"}}, "1 missing in .*entity_to_split.*such as 'grass'"),
            ({"entity_to_split": {"red": "train", "grass": "dev"}}, "a partition at 'grass' in .*got 'dev'"),
            ({"prompt_to_split": {"%s is": "train"}}, "every template in .*1 missing in .*prompt_to_split"),
            ({"attribute_to_prompts": {"Color": []}}, "a list of templates for 'Color'.*got an empty list"),
            (
                {"attribute_to_prompts": {"Color": ["%s is", "%s has size"], "Size": ["%s is"]}},
                "each template once; got '%s is'",
            ),
            ({"attribute_to_prompts": {"Colour": ["%s is", "%s has size"]}}, "did you mean 'Color'"),
            (
                {"wikipedia_physical_object_entity_prompts": {"A %s": {"split": "val"}}},
                "'split' and 'entity'",
            ),
            (
                {"wikipedia_physical_object_entity_prompts": {"A": {"split": "val", "entity": None}}},
                "exactly once and no other % at .*got no %s in 'A'",
            ),
        ],
    )
    def test_what_does_not_follow_the_format_is_refused(
        self, tmp_path: Path, changes: Mapping[str, Any], complaint: str
    ) -> None:
        with pytest.raises(SuiteError) as caught:
            read_release(write_small(tmp_path, changes), "physical_object")
        assert re.search(complaint, str(caught.value)), str(caught.value)

    def test_types_and_places_that_are_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(SuiteError, match=r"a release folder, a \.tgz or 'hij/ravel'; got .*nowhere"):
            read_release(tmp_path / "nowhere", "city")
        with pytest.raises(SuiteError, match=r"entity type of the release .*got 'invented_person'"):
            read_release(tmp_path, "invented_person")
        with pytest.raises(SuiteError, match="did you mean 'verb'"):
            read_release(tmp_path, "verbs")


def archive_of(path: Path, members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def small_members(prefix: str = "") -> list[tuple[tarfile.TarInfo, bytes]]:
    return [(tarfile.TarInfo(prefix + name), json.dumps(content).encode()) for name, content in SMALL.items()]


def special(name: str, kind: bytes) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = "/etc/passwd"
    return member, b""


class TestArchives:
    @pytest.mark.parametrize("prefix", ["", "data/", "./a/b/"])
    def test_members_may_be_nested(self, tmp_path: Path, prefix: str) -> None:
        path = archive_of(tmp_path / "data.tgz", [special("data", tarfile.DIRTYPE), *small_members(prefix)])
        expected = read_release(write_small(tmp_path / "folder"), "physical_object")
        assert read_release(path, "physical_object") == expected

    @pytest.mark.parametrize(
        ("member", "complaint"),
        [
            ((tarfile.TarInfo("/etc/cron.d/x"), b""), "a member outside it, '/etc/cron.d/x'"),
            ((tarfile.TarInfo("data/../../x"), b""), r"a member outside it, 'data/\.\./\.\./x'"),
            ((tarfile.TarInfo("C:\\x"), b""), "a member outside it"),
            ((tarfile.TarInfo("a\\..\\..\\x"), b""), "a member outside it"),
            (special("link", tarfile.SYMTYPE), "'link', which is a link or a device"),
            (special("link", tarfile.LNKTYPE), "'link', which is a link or a device"),
            (special("pipe", tarfile.FIFOTYPE), "'pipe', which is a link or a device"),
            (special("disk", tarfile.BLKTYPE), "'disk', which is a link or a device"),
            ((tarfile.TarInfo("big"), b"x" * 2000), "'big' with 2000 bytes"),
            (small_members("again/")[0], r"entity_attributes\.json twice"),
        ],
    )
    @pytest.mark.parametrize("last", [True, False])
    def test_one_unsafe_member_spoils_the_archive(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        member: tuple[tarfile.TarInfo, bytes],
        complaint: str,
        last: bool,
    ) -> None:
        monkeypatch.setattr(ravel.facts.release_source, "MEMBER_LIMIT", 1000)
        members = [*small_members(), member] if last else [member, *small_members()]
        path = archive_of(tmp_path / "data.tgz", members)
        with pytest.raises(SuiteError, match=complaint):
            read_release(path, "physical_object")
        assert sorted(tmp_path.iterdir()) == [path], "nothing was unpacked"

    def test_too_many_members(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ravel.facts.release_source, "MEMBER_COUNT_LIMIT", 4)
        with pytest.raises(SuiteError, match="more than 4 members"):
            read_release(archive_of(tmp_path / "data.tgz", small_members()), "physical_object")

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        path = archive_of(tmp_path / "data.tgz", small_members()[1:])
        with pytest.raises(SuiteError, match=r"ravel_physical_object_entity_attributes\.json in .*data\.tgz"):
            read_release(path, "physical_object")

    @pytest.mark.parametrize("keep", [0, 5, 60, 300])
    def test_a_truncated_or_foreign_file(self, tmp_path: Path, keep: int) -> None:
        path = archive_of(tmp_path / "data.tgz", small_members())
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(SuiteError, match="a whole tar archive at"):
            read_release(path, "physical_object")

    @pytest.mark.parametrize("name", ["products.csv", "products.json", "products.txt", "products"])
    def test_a_file_of_own_facts_says_what_is_needed(self, name: str, tmp_path: Path) -> None:
        path = tmp_path / name
        path.write_text("name,price,maker\nLamp,12,Acme\n" * 20)
        with pytest.raises(SuiteError, match=r"becomes a line of entities\.jsonl") as caught:
            read_release(path, "physical_object")
        assert "partition" in str(caught.value)
        assert "templates.jsonl" in str(caught.value)
        assert "download" not in str(caught.value)

    def test_an_archive_of_any_name_is_read(self, tmp_path: Path) -> None:
        path = archive_of(tmp_path / "release.bin", small_members())
        assert read_release(path, "physical_object").entities


CITY_VALUES = {
    "Continent": "Europe",
    "Country": "Norway",
    "Language": "Norwegian",
    "Latitude": "60",
    "Longitude": 11.0,
    "Timezone": "Europe/Oslo",
}
HUB: dict[str, dict[str, list[dict[str, Any]]]] = {
    "city_entity": {
        "train": [
            {"ID": "1-0", "City": "Oslo", "URL": "https://example.org/1", **CITY_VALUES},
            {
                "ID": "2-0",
                "City": "Paris",
                "URL": "https://example.org/2",
                **CITY_VALUES,
                "Country": "France",
            },
        ],
        "val": [{"ID": "3-0", "City": "Bergen", "URL": "https://example.org/3", **CITY_VALUES}],
        "test": [
            {"ID": "2-1", "City": "Paris", "URL": "https://example.org/4", **CITY_VALUES, "Country": "USA"}
        ],
    },
    "city_prompt": {
        "train": [{"Template": "%s is in", "Attribute": "Country", "Source": "RAVEL", "Entity": ""}],
        "val": [{"Template": "In %s it", "Attribute": "Other", "Source": "Wikipedia", "Entity": "Oslo"}],
        "test": [
            {"Template": "To %s and", "Attribute": "Other", "Source": "Wikipedia", "Entity": None},
            {"Template": "At %s on", "Attribute": "Other", "Source": "Wikipedia", "Entity": "Paris"},
        ],
    },
}


class TestHub:
    def test_rows_become_tables_and_ambiguous_names_are_left_out(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        tables = read_release("hij/ravel", "city", load_hub=lambda _, config: HUB[config])
        assert [(f.entity, f.partition) for f in tables.entities] == [("Oslo", "train"), ("Bergen", "val")]
        assert dict(tables.facts("Oslo").values) == {**CITY_VALUES, "Longitude": "11"}
        assert tables.templates == (
            Template("%s is in", "Country", "train"),
            Template("In %s it", None, "val", "Oslo"),
            Template("To %s and", None, "test"),
        )
        assert "1 city names whose rows disagree were left out" in caplog.text

    def test_rows_that_agree_count_as_one(self) -> None:
        twice = {**HUB["city_entity"], "train": HUB["city_entity"]["train"] * 2}
        hub = {**HUB, "city_entity": twice}
        assert len(read_release("hij/ravel", "city", load_hub=lambda _, config: hub[config]).entities) == 2

    @pytest.mark.parametrize("name", [name for name in TYPES if name != "city"])
    def test_other_types_are_refused_before_anything_is_loaded(self, name: str) -> None:
        with pytest.raises(SuiteError, match=f"the type city, the only one in hij/ravel; got '{name}'"):
            read_release("hij/ravel", name, load_hub=lambda *_: pytest.fail("loaded"))

    def test_other_columns_and_splits_are_refused(self) -> None:
        bare = {**HUB, "city_prompt": {"train": [{"Template": "%s is in"}]}}
        with pytest.raises(
            SuiteError, match="row 0 of hij/ravel city_prompt/train; got no Attribute, Source"
        ):
            read_release("hij/ravel", "city", load_hub=lambda _, config: bare[config])
        odd = {**HUB, "city_entity": {"dev": []}}
        with pytest.raises(SuiteError, match="the splits train, val, test in hij/ravel city_entity; got dev"):
            read_release("hij/ravel", "city", load_hub=lambda _, config: odd[config])

    def test_the_real_loader_reads_a_repository_of_that_layout(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        datasets = pytest.importorskip("datasets")
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        repository = tmp_path / "repository"
        head = ["---", "configs:"]
        for config, splits in HUB.items():
            head += [f"- config_name: {config}", "  data_files:"]
            for split, rows in splits.items():
                file = f"{config}/{split}-00000.parquet"
                head += [f"  - split: {split}", f"    path: {file}"]
                (repository / config).mkdir(parents=True, exist_ok=True)
                datasets.Dataset.from_list(rows).to_parquet(str(repository / file))
        (repository / "README.md").write_text("\n".join([*head, "---", ""]), encoding="utf-8")
        loaded = read_release(
            "hij/ravel", "city", load_hub=lambda _, config: load_from_hub(str(repository), config)
        )
        assert loaded == read_release("hij/ravel", "city", load_hub=lambda _, config: HUB[config])

    def test_a_hub_that_does_not_answer_is_one_readable_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        datasets = pytest.importorskip("datasets")

        def unreachable(*_: str) -> None:
            raise ConnectionError("no route\nto host")

        monkeypatch.setattr(datasets, "load_dataset", unreachable)
        with pytest.raises(SuiteError, match=r"ConnectionError: no route to host.*data\.tgz"):
            read_release("hij/ravel", "city")
