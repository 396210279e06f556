"""What hubs and data tools read beside our own files: front matter, results, Parquet, Croissant."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cli_world import ravel
from huggingface_hub import parse_eval_result_entries
from huggingface_hub.repocard_data import model_index_to_eval_results
from outcome_world import score_record
from planted_world import PlantedWorld

from evaluation.exchange.croissant import described
from evaluation.exchange.dataset import export_dataset
from evaluation.exchange.hub.layout import travels
from evaluation.exchange.hub.push import push_folder
from evaluation.report.cards import OnHub, card_of, hub_results
from evaluation.report.cards.hub_results import eval_results, model_index
from evaluation.tracks import TRACKS
from ravel.common.errors import SuiteError
from ravel.common.strict_yaml import parse_yaml
from ravel.instance import Instance

TRACK = TRACKS.get("interchange")


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("metadata") / "instance"
    PlantedWorld(3, n_entities=60).instance(n_pairs=40, n_held_out=16, distinct=True).save(folder)
    return folder


@pytest.fixture(scope="module")
def exported(instance: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "data"
    done = ravel("export", instance, "--format", "dataset", "--out", out, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["tables"]["prompts.parquet"] == len(Instance.load(instance).prompts())
    return out


class TestResultsOnAHub:
    def records(self) -> list[Any]:
        test = score_record(chosen=True, partition="test")
        val = score_record(chosen=True)
        return [val, test]

    def test_the_index_of_a_card_is_what_the_hubs_library_reads(self) -> None:
        index = model_index("mdas for Country", self.records(), TRACK, "city-lite-v1", "ann/city")
        name, results = model_index_to_eval_results(index)
        assert name == "mdas for Country"
        assert [(r.metric_type, r.metric_value) for r in results] == [
            *(("cause", 0.8), ("isolate", 0.9), ("disentangle", 0.85)),
        ]
        assert {(r.dataset_type, r.dataset_split) for r in results} == {("ann/city", "context_test")}
        assert results[0].metric_args == {"95 % interval": [0.7, 0.9]}

    def test_the_results_beside_a_card_are_what_the_hubs_library_reads(self) -> None:
        files = eval_results(self.records(), TRACK, "city-lite-v1", "ann/city")
        assert list(files) == [".eval_results/city-lite-v1_context_test.yaml"]
        (entry,) = parse_eval_result_entries(parse_yaml(next(iter(files.values()))))  # type: ignore[arg-type]
        assert (entry.dataset_id, entry.value) == ("ann/city", 0.85)
        assert entry.task_id == "city-lite-v1_context_test_Country"
        assert entry.notes is not None
        assert "cause 0.800 (95 % interval 0.700 to 0.900)" in entry.notes

    def test_without_test_pairs_there_are_none(self) -> None:
        validated = self.records()[:1]
        assert model_index("x", validated, TRACK, "t", "") == []
        assert eval_results(validated, TRACK, "t", "a/b") == {}

    def test_results_travel_and_nothing_else_beside_them(self) -> None:
        assert travels(".eval_results/city_context_test.yaml", "featurizer")
        for name in (
            ".eval_results/a.py",
            ".eval_results/../a.yaml",
            ".eval_results/.yaml",
            "eval_results/a.yaml",
        ):
            assert not travels(name, "featurizer"), name
        assert not travels(".eval_results/a.yaml", "instance")

    def test_a_task_has_its_name(self) -> None:
        assert hub_results.task_name("city", "ab" * 32) == "city-abababab"

    @pytest.mark.parametrize("links", [OnHub("no id"), OnHub("a/b"), OnHub(base_model="../x")])
    def test_links_of_what_is_no_featurizer_and_what_is_no_id_are_refused(
        self, instance: Path, links: OnHub
    ) -> None:
        with pytest.raises(SuiteError, match="ids such as owner/name"):
            push_folder(instance, "ann/i", on_hub=links)


class TestDataSet:
    def test_it_is_streamed_by_the_field_s_library(
        self, instance: Path, exported: Path, tmp_path: Path
    ) -> None:
        datasets = pytest.importorskip("datasets")
        made = Instance.load(instance)
        for split in made.splits():
            rows = list(datasets.load_dataset(str(exported), "pairs", split=split, streaming=True))
            assert [row["pair_id"] for row in rows] == [pair.pair_id for pair in made.pairs(split)]
            assert rows[0]["base_text"] == made.prompt(rows[0]["base"]).prompt.text
        prompts = list(datasets.load_dataset(str(exported), "prompts", split="train", streaming=True))
        assert (
            prompts[0]["text"][prompts[0]["entity_start"] : prompts[0]["entity_end"]] == prompts[0]["entity"]
        )

    def test_croissant_describes_each_file_and_each_column(self, exported: Path) -> None:
        pandas = pytest.importorskip("pandas")
        told = json.loads((exported / "croissant.json").read_text())
        files = {file["@id"]: file for file in told["distribution"]}
        assert set(files) == {p.relative_to(exported).as_posix() for p in exported.rglob("*.parquet")}
        for name, file in files.items():
            assert file["sha256"] == hashlib.sha256((exported / name).read_bytes()).hexdigest()
        assert [r["@id"] for r in told["recordSet"]] == [name.removesuffix(".parquet") for name in files]
        for records in told["recordSet"]:
            source = {field["source"]["fileObject"]["@id"] for field in records["field"]}
            (path,) = source
            assert [field["name"] for field in records["field"]] == list(pandas.read_parquet(exported / path))

    def test_croissant_uses_no_term_that_its_context_does_not_define(self, exported: Path) -> None:
        told = json.loads((exported / "croissant.json").read_text())
        of_schema_org = {"name", "description", "license", "version", "keywords", "distribution"}
        of_schema_org |= {"contentUrl", "encodingFormat", "sha256"}
        context = told.pop("@context")
        for term in terms_of(told):
            prefix = term.split(":")[0] if ":" in term else term
            assert term.startswith("@") or term in of_schema_org or prefix in context, term
        assert told["conformsTo"][0] == "http://mlcommons.org/croissant/1.0"

    def test_it_is_valid_by_the_format_s_own_library(self, exported: Path) -> None:
        mlcroissant = pytest.importorskip("mlcroissant")
        data = mlcroissant.Dataset(jsonld=str(exported / "croissant.json"))
        assert not data.metadata.ctx.issues.errors
        assert len(list(data.records(record_set="pairs/context_test"))) > 0

    def test_the_card_is_the_instance_s_with_other_files(self, instance: Path, exported: Path) -> None:
        card = (exported / "README.md").read_text()
        assert "pairs/context_test.parquet" in card
        assert ".jsonl" not in card.split("---\n")[1]
        assert f'load_dataset(".", "pairs", split="{Instance.load(instance).splits()[-1]}"' in card
        ours, theirs = (text.split("\n# ", 1)[1].split("## Use") for text in (card, card_of(instance)))
        assert ours[0] == theirs[0]
        assert ours[1].split("## Limits")[1] == theirs[1].split("## Limits")[1]

    def test_a_folder_that_is_taken_is_refused(self, instance: Path, exported: Path) -> None:
        with pytest.raises(SuiteError):
            export_dataset(instance, exported)

    def test_equal_instances_give_equal_descriptions(self, instance: Path) -> None:
        made = Instance.load(instance)
        assert described(made, "x", []) == described(Instance.load(instance), "x", [])


def terms_of(value: object) -> set[str]:
    if isinstance(value, dict):
        return {*value, *(term for part in value.values() for term in terms_of(part))}
    if isinstance(value, list):
        return {term for part in value for term in terms_of(part)}
    return set()
