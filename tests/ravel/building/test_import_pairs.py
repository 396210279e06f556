"""An exported instance comes back through the release's format, and a foreign one is told apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from answering_world import TableAnswerer, town_tables

from ravel.building import BuildConfig, build_instance
from ravel.building.import_pairs import instance_from_release_pairs
from ravel.common.errors import SuiteError
from ravel.instance import Instance
from ravel.instance.release_pairs import import_release_pairs, write_release_pairs
from ravel.terms.schema import Prompt


@pytest.fixture(scope="module")
def instance() -> Instance:
    tables = town_tables()
    return build_instance(tables, TableAnswerer(tables), BuildConfig(train_pairs=40, evaluation_pairs=8))


@pytest.fixture
def files(instance: Instance, tmp_path: Path) -> dict[str, Path]:
    written = {split: tmp_path / f"{split}.jsonl" for split in instance.splits()}
    for split, path in written.items():
        instance.export_release_pairs(path, split)
    return written


def test_out_and_in_again_gives_the_same_pairs(instance: Instance, files: dict[str, Path]) -> None:
    tables = town_tables()
    again = instance_from_release_pairs(files, tables, TableAnswerer(tables))
    assert again.splits() == instance.splits()
    assert again.attributes == instance.attributes
    for split in instance.splits():
        for new, old in zip(again.pairs(split), instance.pairs(split), strict=True):
            same = replace(old, base=new.base, source=new.source, swapped=new.swapped)
            assert new == same
            for role in ("base", "source", "swapped"):
                mine = again.prompt(getattr(new, role))
                original = instance.prompt(getattr(old, role))
                assert (mine.prompt, mine.label, mine.label_ids) == (
                    original.prompt,
                    original.label,
                    original.label_ids,
                )
    assert again.manifest.counts["pairs_left_out"] == {}


def test_labels_of_another_model_are_left_out_and_counted(files: dict[str, Path]) -> None:
    tables = town_tables()

    def say(prompt: Prompt, said: str) -> str:
        return said.replace("red", "pink")

    kept = instance_from_release_pairs(files, tables, TableAnswerer(tables, say))
    out = kept.manifest.counts["pairs_left_out"]["another answer"]
    stated = sum(
        "red" in (row.label + row.inv_label) for f in files.values() for row in import_release_pairs(f)
    )
    assert out == stated > 0
    strange = TableAnswerer(tables, lambda prompt, said: " always this")
    with pytest.raises(SuiteError, match="none left of 176: equal labels 176"):
        instance_from_release_pairs(files, tables, strange)


def test_what_the_tables_lack_is_named_with_the_file(files: dict[str, Path]) -> None:
    tables = town_tables()
    (row, *_) = import_release_pairs(files["train"])
    write_release_pairs(files["train"], [replace(row, entity="Nowhere")])
    with pytest.raises(SuiteError, match=r"a known entity in .*train.jsonl; got 'Nowhere'"):
        instance_from_release_pairs(files, tables, TableAnswerer(tables))
    with pytest.raises(SuiteError, match="a known split; got 'trian'"):
        instance_from_release_pairs({"trian": files["train"]}, tables, TableAnswerer(tables))
