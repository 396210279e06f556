"""The bundled planted world, scored: what must be found is found, what must fail fails; the commands."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

import pytest
from cli_world import ravel

from das.engine import make_engine
from das.engine.engines.answering import EngineAnswerer
from das.models.planted import PlantedTraining, PlantedWorld, load_world, planted_spec
from das.models.planted.world import BUNDLED_WORLD
from das.sites import Site
from evaluation.judging.judge import judge
from evaluation.records.planted import TRUTH, PlantedRecord
from evaluation.scoring.interchange.metrics import scores
from evaluation.validity.planted.score import PlantedRequest, planted_site, planted_suite, score_planted
from evaluation.validity.planted.truth import as_subspace
from ravel.building import BuildConfig, build_instance
from ravel.common.errors import SuiteError


@pytest.fixture(scope="module")
def bundled() -> PlantedWorld:
    return load_world(BUNDLED_WORLD)


def test_the_truth_of_the_bundled_world_is_what_a_swap_needs(bundled: PlantedWorld) -> None:
    engine = make_engine("resume", bundled.target)
    config = BuildConfig(max_new_tokens=2, keep_entities=256, train_pairs=8, evaluation_pairs=96)
    instance = build_instance(bundled.tables, EngineAnswerer(engine), config)
    for attribute in instance.attributes:
        part = as_subspace(bundled.truth(attribute))
        outcomes = judge(instance, "entity_context_test", engine, Site.parse(planted_site(bundled)), part)
        found = scores(outcomes, attribute)
        assert min(found.cause or 0.0, found.isolate or 0.0) >= 0.97


def test_the_suite_takes_the_true_sizes(bundled: PlantedWorld) -> None:
    suite = planted_suite(bundled, PlantedRequest(quick=True))
    assert suite.sizes == (1, 2, 4)
    assert suite.sites == ("block_output.1@entity_last",)
    names = {spec.name for spec in planted_suite(bundled, PlantedRequest()).methods}
    assert {spec.name for spec in suite.methods} < names


def test_named_methods_only(bundled: PlantedWorld) -> None:
    request = PlantedRequest(methods=("mdas", "sae_reconstruction"))
    found = {spec.name: spec.config for spec in planted_suite(bundled, request).methods}
    assert set(found) == {"mdas", "sae_reconstruction"}
    assert found["mdas"]["validation_pairs"] == 0


def test_unknown_worlds_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    request = PlantedRequest(worlds=(BUNDLED_WORLD, "small-disjiont"))
    with pytest.raises(SuiteError, match="small-disjoint"):
        score_planted(request, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_map_that_is_not_linear_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    request = PlantedRequest(worlds=(BUNDLED_WORLD,), methods=("mdas", "nonlinear_das"))
    with pytest.raises(SuiteError, match="nonlinear_das"):
        score_planted(request, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_two_worlds_of_one_folder_name_are_refused(tmp_path: Path) -> None:
    for parent in ("a", "b"):
        (tmp_path / parent / "world").mkdir(parents=True)
    request = PlantedRequest(worlds=(str(tmp_path / "a" / "world"), str(tmp_path / "b" / "world")))
    with pytest.raises(SuiteError, match="'world'"):
        score_planted(request, tmp_path / "run")


class TestCommands:
    def test_list(self) -> None:
        done = ravel("planted", "list", "--json")
        assert done.exit_code == 0
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert {"small-disjoint", "small-shared", "small-overlapping", "small-hidden"} <= {
            r["name"] for r in rows
        }

    def test_make_from_a_file(self, tmp_path: Path) -> None:
        spec = planted_spec("small-disjoint").model_copy(
            update={"name": "mine", "entities": 24, "training": PlantedTraining(steps=2, batch=8)}
        )
        (tmp_path / "mine.yaml").write_text(spec.to_yaml())
        done = ravel("planted", "make", tmp_path / "mine.yaml", "--out", tmp_path / "world", "--seed", "3")
        assert done.exit_code == 0, done.output
        assert load_world(str(tmp_path / "world")).spec == spec.model_copy(update={"seed": 3})

    @pytest.mark.parametrize(
        ("change", "said"),
        [("width: 4", "at most 4 coordinates"), ("layout: shared", "subspaces that are shared")],
    )
    def test_a_world_that_can_not_hold(self, tmp_path: Path, change: str, said: str) -> None:
        key = change.split(":")[0]
        lines = planted_spec("small-disjoint").to_yaml().splitlines()
        text = "\n".join(change if line.startswith(f"{key}:") else line for line in lines)
        (tmp_path / "mine.yaml").write_text(text.replace("heads: 4", "heads: 2"))
        done = ravel("planted", "make", tmp_path / "mine.yaml", "--out", tmp_path / "world")
        assert done.exit_code == 2
        assert said in " ".join(done.output.split())
        assert "Traceback" not in done.output
        assert not (tmp_path / "world").exists()

    @pytest.mark.parametrize("arguments", [("--world", "smal-disjoint"), ("--method", "mdass")])
    def test_unknown_names(self, tmp_path: Path, arguments: tuple[str, str]) -> None:
        done = ravel("planted", "score", *arguments, "--out", tmp_path / "run")
        assert done.exit_code == 2
        assert "did you mean" in " ".join(done.output.split()).lower()
        assert "Traceback" not in done.output


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[PlantedRecord]:
    out = tmp_path_factory.mktemp("planted")
    result = score_planted(PlantedRequest(quick=True), out / "run")
    assert PlantedRecord.read(out / "run" / "planted.jsonl") == list(result.rows)
    again = score_planted(PlantedRequest(quick=True), out / "run")
    assert again == result
    return list(result.rows)


@pytest.mark.slow
@pytest.mark.long
class TestScored:
    """Half a dozen methods on the bundled world, rotated and not: the orderings that theory demands."""

    @staticmethod
    def of(
        rows: list[PlantedRecord], method: str, size: int | None = None, *, rotated: bool = True
    ) -> list[PlantedRecord]:
        found = [r for r in rows if r.method == method and r.rotated == rotated and size in (None, r.asked)]
        assert found
        return found

    def test_the_truth_is_near_perfect(self, rows: list[PlantedRecord]) -> None:
        assert min(r.disentangle for r in self.of(rows, TRUTH)) > 0.95
        assert min(r.similarity for r in self.of(rows, TRUTH)) > 1 - 1e-5

    @pytest.mark.parametrize("rotated", [True, False])
    def test_mdas_is_within_ten_degrees_at_the_true_size(
        self, rows: list[PlantedRecord], rotated: bool
    ) -> None:
        angles = [r.largest_angle for r in self.of(rows, "mdas", 2, rotated=rotated)]
        assert max(angle for angle in angles if angle is not None) < 10

    def test_das_with_too_large_a_size_leaks(self, rows: list[PlantedRecord]) -> None:
        das, mdas = self.of(rows, "das", 4), self.of(rows, "mdas", 4)
        assert fmean(r.isolate for r in das) < fmean(r.isolate for r in mdas) - 0.2

    @pytest.mark.parametrize("method", ["pca", "random_subspace"])
    def test_what_knows_no_attribute_fails(self, rows: list[PlantedRecord], method: str) -> None:
        assert max(fmean(r.disentangle for r in self.of(rows, method, k)) for k in (1, 2, 4)) < 0.6

    def test_a_mask_fails_on_a_rotated_world_and_succeeds_on_axes(self, rows: list[PlantedRecord]) -> None:
        turned, axes = self.of(rows, "mdbm"), self.of(rows, "mdbm", rotated=False)
        assert fmean(r.disentangle for r in turned) < 0.6
        assert fmean(r.disentangle for r in axes) > 0.9
