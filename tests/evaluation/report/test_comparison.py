"""What a comparison of many methods adds to a suite: shared vectors, refusals, kinds of sources, corrected
tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from planted_world import SITE, PlantedWorld
from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.masked import MaskedBasis
from das.methods.common.base import (
    Method,
    MethodConfig,
    NotApplicableError,
    Problem,
    Workspace,
)
from das.methods.common.labelled import labelled_vectors, validation_vectors
from das.methods.registry import registered_name
from das.sites import Site
from evaluation.config.suite import SuiteConfig
from evaluation.records.scores import read_refusals
from evaluation.scoring.intervals import holm
from evaluation.suite.cells.stored_vectors import collect_vectors
from evaluation.suite.grid import plan_cells, resolve
from evaluation.suite.run import RunRequest, RunSummary, run_suite
from evaluation.verify.folders import verify_artefact
from ravel.common.errors import SuiteError
from ravel.common.progress import Counted, Event, Finished
from ravel.common.registry import Registry
from ravel.instance import entity_values
from ravel.terms.schema import SOURCE_KINDS, Prompt


class Counting(PlantedWorld):
    """The planted world, which counts how often each prompt is read."""

    def __init__(self) -> None:
        super().__init__(0, n_entities=60)
        self.read: dict[tuple[str, str], int] = {}

    def collect(self, prompts: Sequence[Prompt], sites: Sequence[Site]) -> dict[Site, Tensor]:
        """Count and pass on."""
        for site in sites:
            for prompt in prompts:
                key = (prompt.text, str(site))
                self.read[key] = self.read.get(key, 0) + 1
        return super().collect(prompts, sites)


class _Looker(Method):
    """Looks at labelled vectors, and has no answer for attribute B."""

    name: ClassVar[str] = "looker"
    summary: ClassVar[str] = "For tests"
    config_class: ClassVar[type[MethodConfig]] = MethodConfig
    needs_attribute: ClassVar[bool] = True
    needs_size: ClassVar[bool] = True
    needs_labels: ClassVar[bool] = True
    draws: ClassVar[bool] = False

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Featurizer:
        """Choose the neurons whose class means differ most, for A only."""
        data = labelled_vectors(problem, engine, limit=10_000)
        if problem.attribute == "B":
            raise NotApplicableError(expected="A", came="B", todo="ask for A")
        means = torch.stack([data.vectors[data.labels == c].mean(dim=0) for c in range(len(data.classes))])
        mask = torch.zeros(data.vectors.shape[1])
        mask[means.var(dim=0).topk(problem.size).indices] = 1
        return MaskedBasis(mask)


class _Wide(_Looker):
    """A looker with more to choose from than a vector is wide."""

    name: ClassVar[str] = "wide"

    def largest_size(self, width: int) -> int:
        """Four times the width."""
        return 4 * width


class Only(Registry[type[Method]]):
    """A registry of the methods given."""

    def __init__(self, *methods: type[Method]) -> None:
        super().__init__(kind="method", packages=(), attribute="METHOD", name_of=registered_name)
        self._known = {method.name: method for method in methods}


METHODS = Only(_Looker, _Wide)
WORLD = Counting()
INSTANCE = WORLD.instance(n_pairs=150, n_held_out=60, distinct=True)


def _config(**changes: object) -> SuiteConfig:
    fields = {
        "instance": "in-memory",
        "methods": ["looker"],
        "floors": False,
        "sites": [str(SITE)],
        "sizes": [2, 4],
        "generalisations": ["context"],
        "resamples": 100,
    }
    return SuiteConfig.from_mapping(fields | changes, origin="a test")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunSummary:
    WORLD.read.clear()
    folder = tmp_path_factory.mktemp("runs") / "run"
    return run_suite(RunRequest(_config(), folder, engine=WORLD, instance=INSTANCE, methods=METHODS))


# --- vectors are read once


def test_each_prompt_is_read_once_for_all_fits(finished: RunSummary) -> None:
    # Two attributes at two sizes look at the vectors; sources of judged pairs come on top, in the engine.
    from_fits = [count for (text, _), count in WORLD.read.items() if text.startswith(("the", "its"))]
    assert from_fits
    assert set(from_fits) == {1}


def test_stored_vectors_are_the_engine_s_and_survive_on_disk(tmp_path: Path) -> None:
    world = Counting()
    instance = world.instance(n_pairs=50, n_held_out=20).without_test()
    stored = collect_vectors(instance, world, [SITE], tmp_path)
    prompts = [instance.prompt(pair.base).prompt for pair in instance.pairs("train")]
    before = sum(world.read.values())
    assert torch.equal(
        stored.collect(prompts, [SITE])[SITE], PlantedWorld.collect(world, prompts, [SITE])[SITE]
    )
    again = collect_vectors(instance, world, [SITE], tmp_path)
    assert sum(world.read.values()) == before
    assert torch.equal(again.collect(prompts, [SITE])[SITE], stored.collect(prompts, [SITE])[SITE])
    next(tmp_path.glob("*.safetensors")).write_bytes(b"broken")
    collect_vectors(instance, world, [SITE], tmp_path)
    assert sum(world.read.values()) > before


def test_unknown_prompts_are_passed_on(tmp_path: Path) -> None:
    instance = WORLD.instance(n_pairs=20, n_held_out=20)
    stored = collect_vectors(instance.without_test(), WORLD, [SITE], tmp_path)
    unseen = [WORLD.prompt("A", 3, "unseen")]
    assert torch.equal(stored.collect(unseen, [SITE])[SITE], WORLD.vectors[[3]])


def test_vectors_are_not_collected_with_the_test_splits_open(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="test splits are withheld"):
        collect_vectors(INSTANCE, WORLD, [SITE], tmp_path)


# --- classes


def test_values_are_what_the_model_says_and_entities_without_one_are_left_out() -> None:
    values = entity_values(INSTANCE, "A", ("train",))
    assert all(values[entity] == str(WORLD.label_id("A", int(entity[1:]))) for entity in values)
    problem = Problem(INSTANCE.without_test(), "A", SITE, 2, 0)
    data = labelled_vectors(problem, WORLD, limit=10_000)
    assert set(data.classes) == set(values.values())
    for row in (0, len(data.entities) // 2, -1):
        entity = int(data.entities[row][1:])
        assert data.classes[data.labels[row]] == str(WORLD.label_id("A", entity))
        assert torch.equal(data.vectors[row], WORLD.vectors[entity])
    few = labelled_vectors(problem, WORLD, limit=7, seed=3)
    assert len(few.labels) == 7
    held_out = validation_vectors(problem, WORLD, data.classes[:2], limit=1000)
    assert set(held_out.labels) <= {0, 1}


def test_an_open_vocabulary_is_refused_with_a_reason() -> None:
    world = PlantedWorld(0, n_entities=4)
    world.values = torch.tensor([[0, 0], [1, 1], [2, 2], [3, 3]])
    world.vectors = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
    problem = Problem(world.instance(n_pairs=40, n_held_out=10).without_test(), "A", SITE, 2, 0)
    with pytest.raises(NotApplicableError, match="4 values that a single entity has"):
        labelled_vectors(problem, world, limit=100)


def test_constant_features_are_refused_with_a_reason() -> None:
    world = PlantedWorld(0, n_entities=30)
    world.vectors = torch.ones(30, 16)
    problem = Problem(world.instance(n_pairs=40, n_held_out=10).without_test(), "A", SITE, 2, 0)
    with pytest.raises(NotApplicableError, match="that differ between prompts"):
        labelled_vectors(problem, world, limit=100)


# --- refusals


def test_a_refused_attribute_is_a_hole_with_its_reason(finished: RunSummary) -> None:
    (refusal,) = read_refusals(finished.folder / "refusals.jsonl")
    assert (refusal.method, refusal.attribute) == ("looker", "B")
    assert "Expected A; got B" in refusal.reason
    assert {record.attribute for record in finished.scores} == {"A"}
    macro = next(r for r in finished.averages if r.scope == "macro")
    assert macro.attributes == ("A",)
    assert verify_artefact(finished.folder).problems == ()


def test_a_refused_cell_is_not_tried_again(finished: RunSummary) -> None:
    events: list[Event] = []
    run_suite(
        RunRequest(_config(), finished.folder, engine=WORLD, instance=INSTANCE, methods=METHODS),
        events.append,
    )
    assert {event.stage for event in events if isinstance(event, Counted)} <= {"cells", "test"}
    assert not [event for event in events if isinstance(event, Finished)]


# --- sizes and seeds


def test_methods_may_have_sizes_of_their_own() -> None:
    spec = {"name": "wide", "sizes": [3, 60]}
    config = resolve(_config(methods=["looker", spec]), INSTANCE, WORLD.target, methods=METHODS)
    cells = plan_cells(config, INSTANCE, WORLD.target, methods=METHODS)
    sizes = {name: {cell.size for cell in cells if cell.method == name} for name in ("looker", "wide")}
    assert sizes == {"looker": {2, 4}, "wide": {3, 60}}
    asked = _config(methods=[{"name": "wide", "sizes": [65]}])
    too_large = resolve(asked, INSTANCE, WORLD.target, methods=METHODS)
    with pytest.raises(SuiteError, match="sizes from 1 to 64, the most that wide has"):
        plan_cells(too_large, INSTANCE, WORLD.target, methods=METHODS)


def test_what_draws_nothing_is_fitted_for_one_of_the_three_seeds() -> None:
    config = resolve(_config(), INSTANCE, WORLD.target, methods=METHODS)
    assert config.seeds == (0, 1, 2)
    cells = plan_cells(config, INSTANCE, WORLD.target, methods=METHODS)
    assert {cell.seed for cell in cells} == {0}


# --- kinds of sources


def test_scores_by_source_kind_add_up(finished: RunSummary) -> None:
    own = [r for r in finished.scores if r.chosen and r.partition == "test" and r.attribute == "A"]
    whole = [r for r in own if r.source_kind == "all"]
    parts = [r for r in own if r.source_kind != "all"]
    assert len(whole) == 1
    assert {r.source_kind for r in parts} < set(SOURCE_KINDS)
    assert sum(r.n("cause") for r in parts) == whole[0].n("cause")
    assert sum(r.n("isolate") for r in parts) == whole[0].n("isolate")
    assert not [r for r in finished.scores if r.partition == "val" and r.source_kind != "all"]


# --- many comparisons


def test_holm_by_hand() -> None:
    # Sorted: .01 * 4, .02 * 3, .03 * 2 -> not below .06, .5 * 1.
    assert holm([0.03, 0.01, None, 0.5, 0.02]) == pytest.approx([0.06, 0.04, None, 0.5, 0.06])
    assert holm([0.4, 0.9]) == pytest.approx([0.8, 0.9])
    assert holm([None]) == [None]
