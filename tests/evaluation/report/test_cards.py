"""Cards: true to what they describe, harmless whatever the names are, and their code runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from cli_world import ravel
from outcome_world import score_record
from report_world import ATTRIBUTES, HOSTILE_MODEL, make_instance, make_run

from das.featurizers import Subspace, save_featurizer
from das.featurizers.storage import FeaturizerHeader
from das.sites import Site
from evaluation.report.cards import card_of, featurizer_card, instance_card
from ravel.common.errors import SuiteError
from ravel.common.io import write_jsonl
from ravel.instance import Instance


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An instance's folder; leave it unchanged."""
    folder = tmp_path_factory.mktemp("card") / "instance"
    make_instance().save(folder)
    return folder


def save(folder: Path, *, method: str = "mdas", model: str = "bundled", attribute: str = "Country") -> Path:
    columns = torch.eye(8)[:, :3].contiguous()
    header = FeaturizerHeader(
        method=method,
        attribute=attribute,
        entity_type="city",
        site=Site.parse("block_output.1@entity_last"),
        seed=4,
        model=model,
        target_fingerprint="f" * 64,
        instance_fingerprint="i" * 64,
    )
    save_featurizer(Subspace(columns), folder, header)
    return folder


def meta(card: str) -> dict[str, Any]:
    """Return the front matter, which must end where the card says."""
    _, front, _ = card.split("---\n", 2)
    return dict(yaml.safe_load(front))


def code(card: str) -> str:
    (block,) = re.findall(r"^```python\n(.*?)^```$", card, re.MULTILINE | re.DOTALL)
    return str(block)


def run_in(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(folder)
    namespace: dict[str, Any] = {}
    exec(compile(text, "card", "exec"), namespace)
    return namespace


class TestInstance:
    def test_counts_and_fingerprint(self, instance: Path) -> None:
        card, made = instance_card(instance), Instance.load(instance)
        assert f"| `context_test` | {len(made.pairs('context_test'))} | 24 | 24 | 24 |" in card
        assert made.fingerprint in card
        # Six templates, two per attribute: 27 of the 72 sources of a split ask for what the base asks for.
        assert "`same_attribute` 108, `other_attribute` 180" in card
        assert "`attribute_free` 0" in card

    def test_front_matter_names_every_split_and_every_file_exists(self, instance: Path) -> None:
        found = meta(instance_card(instance))
        files = found["configs"][0]["data_files"]
        assert [f["split"] for f in files] == Instance.load(instance).splits()
        assert all((instance / f["path"]).is_file() for f in files)
        assert (instance / found["configs"][1]["data_files"]).is_file()
        assert found["license"] == "other"
        assert found["size_categories"] == ["n<1K"]

    def test_provenance_is_claimed_for_bundled_entities_only(self, instance: Path, tmp_path: Path) -> None:
        assert "Not every entity is in the bundled data" in instance_card(instance)
        made = Instance.load(instance)
        parts = {split: made.pairs(split) for split in made.splits()}
        known = Instance.from_parts(
            entity_type="city",
            model_name="m",
            model_fingerprint="f",
            prompts=made.prompts(),
            pairs=parts,
            entities={"train": ["Nairobi"], "test": []},
        )
        known.save(tmp_path / "i")
        card = instance_card(tmp_path / "i")
        assert "Every entity is in the data bundled with ravel-bench." in card
        assert "GeoNames" in card
        assert "Unicode License v3" in card

    def test_its_code_runs(
        self, instance: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        text = code(instance_card(instance))
        assert len([line for line in text.splitlines() if line]) == 5
        assert len(run_in(instance, text, monkeypatch)["pairs"]) == 72
        assert "if_swapped" in capsys.readouterr().out

    def test_names_stay_names(self, instance: Path) -> None:
        card = instance_card(instance)
        assert meta(card)["pretty_name"] == f"RAVEL instance: city for {HOSTILE_MODEL}"
        body = card.split("---\n", 2)[2]
        assert not re.search(r"(?<!\\)<", body)
        assert "Zone \\<b\\>" in body

    def test_a_damaged_instance_is_refused(self, tmp_path: Path) -> None:
        make_instance().save(tmp_path / "i")
        (tmp_path / "i" / "prompts.jsonl").write_text("")
        with pytest.raises(SuiteError, match=r"prompts\.jsonl differs"):
            card_of(tmp_path / "i")


class TestFeaturizer:
    def test_what_it_is(self, tmp_path: Path) -> None:
        card = featurizer_card(save(tmp_path))
        assert "# mdas for Country of city in bundled" in card
        assert "3 swapped, in vectors of width 8" in card
        assert "`block_output.1@entity_last`" in card
        assert "None were at hand." in card

    def test_its_code_runs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        done = run_in(tmp_path, code(featurizer_card(save(tmp_path))), monkeypatch)
        assert torch.equal(done["swapped"][:, 3:], done["base"][:, 3:])
        torch.testing.assert_close(done["swapped"][:, :3], done["source"][:, :3])

    def test_scores_that_are_given_are_shown_with_intervals(self, tmp_path: Path) -> None:
        records = [score_record(), score_record(partition="test", cause=None, disentangle=None, n_cause=0)]
        card = featurizer_card(save(tmp_path), records)
        assert "| Country | `context_val` | 0.800 [0.700, 0.900] | 0.900 [0.800, 0.950] |" in card
        assert "| Country | `context_test` | – |" in card

    def test_a_cell_of_a_run_finds_its_own_scores(self, tmp_path: Path) -> None:
        run = make_run(tmp_path / "run")
        save(run / "cells" / "0000000000000001", attribute=ATTRIBUTES[1])
        rows = [line for line in card_of(run / "cells" / "0000000000000001").splitlines() if "_test`" in line]
        assert len(rows) == 2
        assert all(row.startswith("| Language |") for row in rows)

    def test_scores_by_source_kind_are_left_out(self, tmp_path: Path) -> None:
        kinds = [score_record(source_kind="attribute_free")]
        assert "None were at hand." in featurizer_card(save(tmp_path), kinds)

    @pytest.mark.parametrize(
        ("model", "linked"), [("org/model-1.0", True), ("bundled", False), ("./a", False)]
    )
    def test_only_a_hub_id_is_linked(self, tmp_path: Path, model: str, linked: bool) -> None:
        assert ("base_model" in meta(featurizer_card(save(tmp_path, model=model)))) == linked

    def test_names_stay_names(self, tmp_path: Path) -> None:
        hostile = "x\n---\n# <script> | [a](b)"
        card = featurizer_card(save(tmp_path, method=hostile, model=HOSTILE_MODEL))
        assert meta(card)["tags"][-3] == "x --- # <script> | [a](b)"
        assert "\n# <script>" not in card
        assert not re.search(r"(?<!\\)<", card.split("## Use")[0].split("\n# ", 1)[1])


class TestCommands:
    def test_a_card_is_printed_or_written(self, tmp_path: Path) -> None:
        folder = save(tmp_path / "f")
        printed = ravel("card", folder)
        assert printed.exit_code == 0, printed.output
        assert printed.stdout == featurizer_card(folder)
        assert ravel("card", folder, "--out", tmp_path / "README.md").stdout.strip().endswith("README.md")
        assert (tmp_path / "README.md").read_text(encoding="utf-8") == printed.stdout
        assert json.loads(ravel("card", folder, "--json").stdout)["card"] == printed.stdout

    def test_what_is_neither_is_refused(self, tmp_path: Path) -> None:
        for path in (tmp_path, tmp_path / "none"):
            refused = ravel("card", path)
            assert refused.exit_code == 2
            assert "the folder of an instance, a featurizer or a run" in refused.stderr

    def test_the_page_of_a_run(self, tmp_path: Path) -> None:
        run = make_run(tmp_path / "run")
        assert ravel("report", run).stdout.strip() == str(run / "report.html")
        there = tmp_path / "there.html"
        assert json.loads(ravel("report", run, "--out", there, "--json").stdout) == str(there)
        assert there.read_bytes() == (run / "report.html").read_bytes()
        write_jsonl(run / "scores.jsonl", [])
        refused = ravel("report", run)
        assert refused.exit_code == 2
        assert "let the run finish first" in refused.stderr
