"""Which model an artefact belongs to: other instruments are refused by name, old fingerprints go on with a
note."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toy_instance import built

from das.engine import DirectEngine, EngineAnswerer
from das.featurizers.storage import load_featurizer
from das.models import FAMILIES, TargetModel
from das.models.load import load_target, target_from
from das.models.miniature import character_tokenizer, miniature
from evaluation.config.suite import SuiteConfig
from evaluation.config.target import TargetConfig
from evaluation.exchange.exporting import export_folder
from evaluation.judging.recognition import check_gave_labels, recognise
from evaluation.judging.score import ScoreRequest
from evaluation.suite.folders import FitRequest, fit_folder, score_folder
from evaluation.suite.run import RunRequest, run_suite
from evaluation.verify.checks.files import json_problems
from evaluation.verify.folders import verify_artefact
from ravel.common.errors import SuiteError
from ravel.common.io import read_json
from ravel.instance import Instance, verify_instance

GOLDEN = Path(__file__).parents[2] / "golden" / "v2" / "run"
"""A run of the first release on the Llama miniature of seed 0."""
FIT = FitRequest("random_subspace", {}, "A", "block_output.1@entity_last", 4, 0)
SCORE = ScoreRequest("entity", "val")


@pytest.fixture
def target() -> TargetModel:
    return miniature(FAMILIES.get("llama"))


@pytest.fixture
def model(target: TargetModel, tmp_path: Path) -> TargetConfig:
    target.model.save_pretrained(tmp_path / "model")
    target.tokenizer.save_pretrained(tmp_path / "model")
    return TargetConfig(model=str(tmp_path / "model"), engine="direct")


def instance_of(target: TargetModel, *, old: bool = False) -> Instance:
    """An instance of this model, as today's build writes it or as that of an earlier release did."""
    engine = DirectEngine(target)
    if old:
        recognise(engine, target.old_fingerprint)
        return built(engine)
    made, answerer = built(engine), EngineAnswerer(engine)
    return Instance.from_parts(
        entity_type=made.entity_type,
        model_name=answerer.name,
        model_fingerprint=answerer.fingerprint,
        instrument=answerer.instrument,
        prompts=made.prompts(),
        pairs={split: made.pairs(split) for split in made.splits()},
    )


def test_an_instance_says_what_its_model_is(target: TargetModel, tmp_path: Path) -> None:
    instance = instance_of(target)
    instance.save(tmp_path / "i")
    assert Instance.load(tmp_path / "i").instrument == target.parts
    assert verify_instance(tmp_path / "i") == []
    assert json_problems(tmp_path / "i" / "manifest.json", "manifest") == []


def test_an_old_instance_says_nothing_of_it(target: TargetModel, tmp_path: Path) -> None:
    instance_of(target, old=True).save(tmp_path / "i")
    assert "instrument" not in read_json(tmp_path / "i" / "manifest.json")
    assert Instance.load(tmp_path / "i").instrument == {}


def test_another_tokenizer_is_refused_by_name(
    target: TargetModel, tmp_path: Path, model: TargetConfig
) -> None:
    instance_of(target).save(tmp_path / "instance")
    character_tokenizer(add_bos=False).save_pretrained(model.model)
    with pytest.raises(SuiteError, match=r"these parts differ: tokenizer, special tokens\. To mend it"):
        fit_folder(FIT, tmp_path / "instance", model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_row_of_other_weights_is_refused_by_name(
    target: TargetModel, tmp_path: Path, model: TargetConfig
) -> None:
    instance_of(target).save(tmp_path / "instance")
    fit_folder(FIT, tmp_path / "instance", model, tmp_path / "out")
    with torch.no_grad():
        target.model.get_input_embeddings().weight[70] *= -1
    target.model.save_pretrained(model.model)
    with pytest.raises(SuiteError, match=r"these parts differ: weights\. To mend it"):
        score_folder(tmp_path / "out", tmp_path / "instance", model, SCORE)
    with pytest.raises(SuiteError, match=r"these parts differ: weights\. To mend it"):
        fit_folder(FIT, tmp_path / "instance", model, tmp_path / "again")


def test_the_old_fingerprint_goes_on_with_a_note(
    target: TargetModel, tmp_path: Path, model: TargetConfig
) -> None:
    instance_of(target, old=True).save(tmp_path / "instance")
    said: list[str] = []
    fit_folder(FIT, tmp_path / "instance", model, tmp_path / "out", lambda event: said.append(str(event)))
    assert sum("fingerprint of an earlier release" in line for line in said) == 1
    _, header = load_featurizer(tmp_path / "out")
    assert header.target_fingerprint == target.old_fingerprint
    assert score_folder(tmp_path / "out", tmp_path / "instance", model, SCORE)
    export_folder(tmp_path / "out", "pyvene", model, tmp_path / "exported")


def test_with_it_another_model_is_refused_all_the_same(
    target: TargetModel, tmp_path: Path, model: TargetConfig
) -> None:
    instance_of(target, old=True).save(tmp_path / "instance")
    other = miniature(FAMILIES.get("llama"), seed=3)
    other.model.save_pretrained(model.model)
    with pytest.raises(SuiteError, match="the model that gave the instance's labels"):
        fit_folder(FIT, tmp_path / "instance", model, tmp_path / "out")


@pytest.mark.slow
def test_a_run_on_an_old_instance_is_sound(target: TargetModel, tmp_path: Path, model: TargetConfig) -> None:
    instance_of(target, old=True).save(tmp_path / "instance")
    config = SuiteConfig.from_mapping(
        {
            "instance": str(tmp_path / "instance"),
            "model": model.model,
            "methods": ["random_subspace"],
            "sites": ["block_output.1@entity_last"],
            "sizes": [4],
            "resamples": 100,
        },
        origin="a test",
    )
    said: list[str] = []
    run_suite(RunRequest(config, tmp_path / "run"), lambda event: said.append(str(event)))
    assert any("fingerprint of an earlier release" in line for line in said)
    assert verify_artefact(tmp_path / "run").problems == ()
    assert read_json(tmp_path / "run" / "environment.json")["model_fingerprint"] == target.old_fingerprint


def test_the_first_release_s_run_knows_today_s_model(target: TargetModel) -> None:
    instance = Instance.load(GOLDEN / "instance")
    assert instance.model_fingerprint == target.old_fingerprint
    engine, said = DirectEngine(target), list[str]()
    with pytest.raises(SuiteError, match="the model that gave"):
        check_gave_labels(engine.target, instance, "-")
    recognise(engine, instance.model_fingerprint, said.append)
    check_gave_labels(engine.target, instance, "-")
    assert len(said) == 1
    # And back, for an artefact of today.
    recognise(engine, target.fingerprint, said.append)
    assert engine.target == target


def test_a_wrapped_target_of_the_same_parts_is_the_same(target: TargetModel, model: TargetConfig) -> None:
    loaded = load_target(model.model)
    again = target_from(loaded.model, loaded.tokenizer, "another name")
    assert again.fingerprint == target.fingerprint
