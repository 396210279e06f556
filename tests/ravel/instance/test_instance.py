"""Instances as values and as folders: round trips, hashes, cross references, withheld test splits."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from answering_world import TableAnswerer, town_tables

from ravel.building import BuildConfig, build_instance
from ravel.common.errors import SuiteError
from ravel.common.io import sha256_file
from ravel.instance import ALL_SPLITS, Instance, PromptRecord, verify_instance
from ravel.instance.release_pairs import import_release_pairs
from ravel.terms.schema import InterchangePair


@pytest.fixture(scope="module")
def instance() -> Instance:
    tables = town_tables()
    config = BuildConfig(train_pairs=60, evaluation_pairs=12)
    return build_instance(tables, TableAnswerer(tables), config)


@pytest.fixture
def folder(instance: Instance, tmp_path: Path) -> Path:
    instance.save(tmp_path / "instance")
    return tmp_path / "instance"


def parts(instance: Instance) -> dict[str, list[InterchangePair]]:
    """Take the pairs out, for changing them."""
    return {name: list(instance.pairs(name)) for name in instance.splits()}


def put_together(prompts: list[PromptRecord], pairs: dict[str, list[InterchangePair]]) -> Instance:
    """Make an instance of the parts."""
    return Instance.from_parts(
        entity_type="town", model_name="m", model_fingerprint="f", prompts=prompts, pairs=pairs
    )


def test_saved_and_loaded_it_is_the_same(instance: Instance, folder: Path) -> None:
    loaded = Instance.load(folder)
    assert loaded.manifest == instance.manifest
    assert loaded.fingerprint == instance.fingerprint
    assert loaded.prompts() == instance.prompts()
    assert all(loaded.pairs(name) == instance.pairs(name) for name in ALL_SPLITS)
    assert verify_instance(folder) == []


def test_saving_again_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    Instance.load(folder).save(tmp_path / "again")
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert {str(path) for path in files} >= {"manifest.json", "prompts.jsonl", "pairs/train.jsonl"}
    assert all(sha256_file(folder / path) == sha256_file(tmp_path / "again" / path) for path in files)


def test_nothing_is_written_over(instance: Instance, folder: Path) -> None:
    with pytest.raises(SuiteError, match=r"no folder, or an empty one.*got one with files in it"):
        instance.save(folder)
    assert verify_instance(folder) == []


def test_an_empty_folder_is_taken(instance: Instance, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    instance.save(tmp_path / "empty")
    assert verify_instance(tmp_path / "empty") == []


def test_a_failed_save_leaves_nothing(
    instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ravel.instance.instance.write_json", interrupted)
    with pytest.raises(KeyboardInterrupt):
        instance.save(tmp_path / "instance")
    assert list(tmp_path.iterdir()) == []


def test_a_changed_file_is_refused(folder: Path) -> None:
    path = folder / "pairs" / "train.jsonl"
    path.write_text(path.read_text()[:-10])
    with pytest.raises(SuiteError, match=r"got pairs/train.jsonl differs from its hash"):
        Instance.load(folder)
    assert verify_instance(folder) == ["pairs/train.jsonl differs from its hash in the manifest"]


def test_a_missing_file_and_a_stray_one_are_named(folder: Path) -> None:
    (folder / "prompts.jsonl").unlink()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(SuiteError, match=r"prompts.jsonl is missing"):
        Instance.load(folder)
    assert verify_instance(folder) == [
        "prompts.jsonl is missing",
        "notes.txt is not named in the manifest",
    ]


def change_row(folder: Path, change: Callable[[dict[str, object]], None]) -> None:
    """Change the second training pair and mend the manifest's hash, so that only the content is wrong."""
    path = folder / "pairs" / "train.jsonl"
    lines = path.read_text().splitlines()
    row = json.loads(lines[1])
    change(row)
    lines[1] = json.dumps(row)
    path.write_text("\n".join(lines) + "\n")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["pairs/train.jsonl"] = sha256_file(path)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("base", "t9999-e99999", "unknown prompt id 't9999-e99999'"),
        ("if_swapped", " mauve", "if_swapped ' mauve' where its prompts say"),
        ("attribute", "Shape", "attribute 'Shape' where its prompts say"),
        ("source_kind", "guess", "source_kind 'guess'"),
        ("extra", 1, "the unknown fields extra"),
    ],
)
def test_a_pair_that_disagrees_is_named_with_file_and_line(
    folder: Path, field: str, value: object, complaint: str
) -> None:
    change_row(folder, lambda row: row.update({field: value}))
    with pytest.raises(SuiteError, match=r"line 2 of .*train\.jsonl") as caught:
        Instance.load(folder)
    assert complaint in str(caught.value)
    stated, *_ = verify_instance(folder)
    assert "the manifest states fingerprint" in stated


def test_a_repeated_pair_id_is_refused(folder: Path) -> None:
    change_row(folder, lambda row: row.update({"pair_id": "train-000000"}))
    with pytest.raises(SuiteError, match=r"every pair id once"):
        Instance.load(folder)


def test_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"manifest.json; got nothing there"):
        Instance.load(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(SuiteError, match=r"a manifest with"):
        Instance.load(tmp_path)
    assert len(verify_instance(tmp_path)) == 1


def test_another_schema_version_is_refused(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 99}))
    with pytest.raises(
        SuiteError, match=r"schema version 2 .*got version 99, which is newer.*update ravel-bench"
    ):
        Instance.load(folder)


def test_withheld_test_splits_can_not_be_read(instance: Instance) -> None:
    open_part = instance.without_test()
    assert open_part.splits() == [name for name in ALL_SPLITS if not name.endswith("_test")]
    assert open_part.pairs("context_val") == instance.pairs("context_val")
    assert open_part.fingerprint == instance.fingerprint
    assert open_part.attributes == instance.attributes
    for name in ("context_test", "entity_test", "entity_context_test"):
        with pytest.raises(SuiteError, match=f"got '{name}', which is withheld here"):
            open_part.pairs(name)
        with pytest.raises(SuiteError, match=r"withheld"):
            open_part.to_pandas(name)
    tested = {pair.base for pair in instance.pairs("entity_context_test")}
    for prompt_id in tested:
        with pytest.raises(SuiteError, match=r"a prompt id of this town instance"):
            open_part.prompt(prompt_id)


def test_a_withheld_instance_is_not_saved(instance: Instance, tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"whose test splits are withheld"):
        instance.without_test().save(tmp_path / "x")


def test_unknown_splits_and_prompts(instance: Instance) -> None:
    with pytest.raises(SuiteError, match=r"a known split; got 'context_tset'.*did you mean 'context_test'"):
        instance.pairs("context_tset")
    with pytest.raises(SuiteError, match=r"got 'nobody'"):
        instance.prompt("nobody")


def test_prompts_of_a_split_are_those_its_pairs_use(instance: Instance) -> None:
    used = {i for pair in instance.pairs("entity_val") for i in (pair.base, pair.source, pair.swapped)}
    assert {record.prompt_id for record in instance.prompts("entity_val")} == used


def test_as_a_table_and_as_a_dataset(instance: Instance) -> None:
    table = instance.to_pandas("context_val")
    pairs = instance.pairs("context_val")
    assert len(table) == len(pairs)
    assert list(table["if_swapped"]) == [pair.if_swapped for pair in pairs]
    assert list(table["swapped_text"]) == [instance.prompt(p.swapped).prompt.text for p in pairs]
    dataset = instance.to_dataset("context_val")
    assert dataset.column_names == list(table.columns)
    assert dataset[3] == table.iloc[3].to_dict()


def test_an_empty_split_has_columns_all_the_same(instance: Instance) -> None:
    pairs = {"train": parts(instance)["train"]}
    alone = put_together(list(instance.prompts()), pairs)
    assert alone.attributes == ()
    assert alone.pairs("context_val") == ()
    assert list(alone.to_pandas("context_val").columns) == list(instance.to_pandas("train").columns)
    assert alone.to_dataset("context_val").column_names == instance.to_dataset("train").column_names


def test_release_pairs_come_back_as_they_went(instance: Instance, tmp_path: Path) -> None:
    path = tmp_path / "release.jsonl"
    instance.export_release_pairs(path, "entity_test")
    rows = import_release_pairs(path)
    assert list(json.loads(path.read_text().splitlines()[0])) == sorted(
        [
            "input",
            "label",
            "source_input",
            "source_label",
            "inv_label",
            "split",
            "source_split",
            "entity",
            "source_entity",
        ]
    )
    for row, pair in zip(rows, instance.pairs("entity_test"), strict=True):
        assert row.input == row.split.replace("%s", row.entity) == instance.prompt(pair.base).prompt.text
        assert (row.label, row.inv_label) == (pair.if_unchanged, pair.if_swapped)
        assert row.source_input == instance.prompt(pair.source).prompt.text
        assert (row.entity, row.source_entity) == (pair.base_entity, pair.source_entity)


def test_a_release_row_without_a_field_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"input": "x"}\n')
    with pytest.raises(
        SuiteError, match=r"line 1 of .*bad.jsonl; got missing or no text: label, source_input"
    ):
        import_release_pairs(tmp_path / "bad.jsonl")


def test_parts_that_contradict_are_refused(instance: Instance) -> None:
    prompts, pairs = list(instance.prompts()), parts(instance)
    with pytest.raises(SuiteError, match=r"every prompt id once"):
        put_together([*prompts, prompts[0]], pairs)
    with pytest.raises(SuiteError, match=r"a known split; got 'tests'"):
        put_together(prompts, {"tests": []})
    same = replace(pairs["train"][0], if_swapped=pairs["train"][0].if_unchanged)
    with pytest.raises(SuiteError, match=r"a consistent pair on pair 1 of train"):
        put_together(prompts, {"train": [same]})


def test_the_same_parts_give_the_same_fingerprint(instance: Instance) -> None:
    prompts, pairs = list(instance.prompts()), parts(instance)
    assert put_together(prompts, pairs).fingerprint == put_together(prompts, pairs).fingerprint
    fewer = {**pairs, "train": pairs["train"][:-1]}
    assert put_together(prompts, fewer).fingerprint != put_together(prompts, pairs).fingerprint


@pytest.mark.slow
def test_a_hundred_thousand_pairs_load_in_seconds(instance: Instance, tmp_path: Path) -> None:
    train = instance.pairs("train")
    many = [replace(train[i % len(train)], pair_id=f"train-{i:06d}") for i in range(100_000)]
    put_together(list(instance.prompts()), {**parts(instance), "train": many}).save(tmp_path / "big")
    start = time.perf_counter()
    Instance.load(tmp_path / "big")
    assert time.perf_counter() - start < 10


def test_a_notebook_shows_how_many_pairs_each_split_has(instance: Instance) -> None:
    shown = instance._repr_html_()
    assert "<script" not in shown
    for split in instance.splits():
        assert f'<th scope="row">pairs of {split}</th><td>{len(instance.pairs(split))}</td>' in shown
    withheld = instance.without_test()._repr_html_()
    assert "pairs of context_test" not in withheld
    assert "context_test" in withheld
