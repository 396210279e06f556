"""A trained world with a hidden pathway: diagnoses tell its subspace from the truth, as scores do not."""

from __future__ import annotations

import pytest

from das.engine import make_engine
from das.engine.engines.answering import EngineAnswerer
from das.featurizers.storage import FeaturizerHeader, save_featurizer
from das.models.planted import make_world, planted_spec, save_world
from das.sites import Site
from evaluation.config.target import TargetConfig
from evaluation.validity.diagnose_run import diagnose_folder
from evaluation.validity.diagnosis.diagnose import DiagnosisConfig
from evaluation.validity.planted.score import planted_site
from evaluation.validity.planted.truth import as_subspace
from ravel.building import BuildConfig, build_instance


@pytest.mark.slow
@pytest.mark.long
def test_diagnoses_flag_the_illusion_and_pass_the_truth(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("hidden")
    world = make_world(planted_spec("small-hidden"))
    save_world(world, root / "world")
    config = BuildConfig(max_new_tokens=2, keep_entities=256, train_pairs=200, evaluation_pairs=96)
    instance = build_instance(world.tables, EngineAnswerer(make_engine("resume", world.target)), config)
    instance.save(root / "instance")
    attribute, illusion = world.illusion() or pytest.fail("there is no pathway")
    found = {}
    for name, columns in (("truth", world.truth(attribute)), ("illusion", illusion)):
        header = FeaturizerHeader(
            method=name,
            attribute=attribute,
            entity_type=instance.entity_type,
            site=Site.parse(planted_site(world)),
            seed=0,
            model=world.target.name,
            target_fingerprint=world.target.fingerprint,
            instance_fingerprint=instance.fingerprint,
        )
        save_featurizer(as_subspace(columns), root / name, header)
        found[name] = diagnose_folder(
            root / name,
            root / "instance",
            TargetConfig(model=str(root / "world")),
            DiagnosisConfig(limit_pairs=80),
        )
    failed = {name: {c.name for c in d.checks if c.result == "failed"} for name, d in found.items()}
    assert failed["truth"] == set()
    assert {"hidden_pathway", "row_part"} <= failed["illusion"]
    scores = {name: diagnosis.patch("full") for name, diagnosis in found.items()}
    assert all(patch is not None for patch in scores.values())
    assert min(patch.cause or 0.0 for patch in scores.values() if patch) > 0.4
    assert min(patch.isolate or 0.0 for patch in scores.values() if patch) > 0.95
