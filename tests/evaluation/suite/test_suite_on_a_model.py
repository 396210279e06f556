"""A suite through the front door: model and instance from folders, three generalisations, a miniature
model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from outcome_world import TRACK
from toy_instance import built

from das.engine import DirectEngine
from das.featurizers.storage import load_featurizer
from das.models import FAMILIES
from das.models.load import load_target
from das.models.miniature import miniature
from evaluation.config.judging import Judging
from evaluation.config.suite import SuiteConfig
from evaluation.config.target import TargetConfig
from evaluation.judging.score import ScoreRequest, score_featurizer
from evaluation.records.scores import ScoreRecord
from evaluation.scoring.scores import FeaturizerId
from evaluation.suite.folders import with_dtype_of
from evaluation.suite.run import RunRequest, run_suite
from ravel.common.errors import SuiteError
from ravel.terms.schema import GENERALISATIONS


@pytest.mark.slow
def test_from_folders_to_tables(tmp_path: Path) -> None:
    made = miniature(FAMILIES.get("llama"))
    made.model.save_pretrained(tmp_path / "model")
    made.tokenizer.save_pretrained(tmp_path / "model")
    target = load_target(str(tmp_path / "model"))
    engine = DirectEngine(target)
    instance = built(engine)
    instance.save(tmp_path / "instance")
    quick = {"epochs": 1, "cause_pairs": 50}
    config = SuiteConfig.from_mapping(
        {
            "instance": str(tmp_path / "instance"),
            "model": str(tmp_path / "model"),
            "methods": [{"name": "das", "config": quick}, {"name": "mdas", "config": quick}],
            "sites": ["block_output.0@entity_last", "block_output.2@entity_last"],
            "sizes": [4],
            "resamples": 100,
        },
        origin="a test",
    )
    found = run_suite(RunRequest(config, tmp_path / "run"))
    assert {record.generalisation for record in found.scores} == set(GENERALISATIONS)
    nothing = [record for record in found.scores if record.method == "no_op"]
    everything = [record for record in found.scores if record.method == "full_vector"]
    assert {r.value("cause") for r in nothing if r.n("cause")} == {0}
    assert {r.value("isolate") for r in nothing if r.n("isolate")} == {1}
    assert {r.value("cause") for r in nothing if not r.n("cause")} <= {None}
    assert any((record.value("isolate") or 0) < 1 for record in everything)
    table = (tmp_path / "run" / "tables" / "main.md").read_text().replace("\\", "")
    assert all(f"{g} cause" in table for g in GENERALISATIONS)


@pytest.mark.slow
def test_a_featurizer_scored_alone_scores_as_in_the_run(tmp_path: Path) -> None:
    engine = DirectEngine(miniature(FAMILIES.get("gpt2")))
    instance = built(engine)

    config = SuiteConfig.from_mapping(
        {
            "instance": "-",
            "methods": ["random_subspace"],
            "sites": ["block_output.1@entity_last"],
            "sizes": [4],
        },
        origin="a test",
    )
    found = run_suite(RunRequest(config, tmp_path / "run", engine=engine, instance=instance))
    record = next(
        r
        for r in found.scores
        if (r.method, r.partition, r.generalisation) == ("random_subspace", "test", "entity")
    )
    featurizer, header = load_featurizer(tmp_path / "run" / "cells" / record.cell)
    featurizer_id = FeaturizerId(
        record.cell, record.method, "toy", engine.target.name, header.site, featurizer.size, record.seed
    )
    alone = score_featurizer(
        instance,
        TRACK,
        TRACK.judge(engine, Judging()),
        featurizer,
        featurizer_id,
        ScoreRequest(generalisation="entity", partition="test", attributes=[record.attribute]),
    )
    assert [r.to_json() | {"chosen": True} for r in alone] == [record.to_json()]


@pytest.mark.slow
def test_a_suite_goes_on_where_the_profile_is_best_as_if_it_had_been_told_so(tmp_path: Path) -> None:
    """`keep_sites` gives the scores that naming the site gives, chosen by validation alone, also when run
    again."""
    engine = DirectEngine(miniature(FAMILIES.get("gpt2")))
    instance = built(engine)
    sites = [f"block_output.{layer}@entity_last" for layer in range(3)]
    wanted = {"instance": "-", "methods": ["random_subspace"], "sites": sites, "sizes": [4]}

    def scores(folder: str, **changes: Any) -> list[ScoreRecord]:
        config = SuiteConfig.from_mapping(wanted | changes, origin="a test")
        request = RunRequest(config, tmp_path / folder, engine=engine, instance=instance)
        return run_suite(request).scores

    kept = scores("kept", keep_sites=1)
    causes: dict[str, list[float]] = {}
    for record in kept:
        if record.method == "full_vector" and record.partition == "val" and record.value("cause") is not None:
            causes.setdefault(record.site, []).append(record.value("cause"))
    best = max(causes, key=lambda site: sum(causes[site]) / len(causes[site]))
    assert set(causes) == set(sites)
    assert {record.site for record in kept if record.method != "full_vector"} == {best}
    assert kept == scores("kept", keep_sites=1)
    told = scores("told", sites=[best])
    assert [r for r in kept if r.method == "random_subspace"] == [
        r for r in told if r.method == "random_subspace"
    ]


def test_sites_cannot_be_kept_without_full_vector() -> None:
    with pytest.raises(SuiteError, match="full_vector"):
        SuiteConfig.from_mapping(
            {
                "instance": "-",
                "methods": ["no_op"],
                "floors": False,
                "sites": ["block_output.0@entity_last"],
                "keep_sites": 1,
            },
            origin="a test",
        )


@pytest.mark.slow
def test_auto_is_the_dtype_of_the_instance_and_the_run_keeps_it(tmp_path: Path) -> None:
    made = miniature(FAMILIES.get("llama"))
    made.model.to(torch.bfloat16).save_pretrained(tmp_path / "model")
    made.tokenizer.save_pretrained(tmp_path / "model")
    engine = DirectEngine(load_target(str(tmp_path / "model"), dtype="bfloat16"))
    built(engine, stated=True).save(tmp_path / "instance")
    config = SuiteConfig.from_mapping(
        {
            "instance": str(tmp_path / "instance"),
            "model": str(tmp_path / "model"),
            "dtype": "auto",
            "methods": ["random_subspace"],
            "sites": ["block_output.0@entity_last"],
            "sizes": [4],
        },
        origin="a test",
    )
    request = RunRequest(config, tmp_path / "run")
    first, again = run_suite(request), run_suite(request)
    assert SuiteConfig.from_file(tmp_path / "run" / "config.yaml").dtype == "bfloat16"
    assert first.scores == again.scores
    target = with_dtype_of(TargetConfig(dtype="auto"), tmp_path / "run")
    assert target.dtype == with_dtype_of(target, tmp_path / "instance").dtype == "bfloat16"
