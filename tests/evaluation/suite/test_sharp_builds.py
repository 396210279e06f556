"""Builds that decode by sharp tokens: how that is chosen, what is said of it, and where it is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cli_world import World, build_args
from cli_world import ravel as command

from das.diagnostics.sharp_decoding import SharpAnswerer, SharpDecoding
from das.engine import DirectEngine, EngineAnswerer
from das.engine.base.protocol import Engine
from das.models.load import load_target
from evaluation.suite.execution import build_in_run, decoding
from evaluation.suite.execution.build_in_run import build_into
from evaluation.suite.execution.decoding import ALPHAS, questions_of, sharpest, tried_decodings
from ravel.asking.kept_answers import KeptAnswers
from ravel.asking.prompts import fill
from ravel.building import BuildConfig, build_instance
from ravel.common.errors import SuiteError
from ravel.common.progress import Progress, silent
from ravel.facts.sources import open_tables
from ravel.facts.tables import Tables
from ravel.instance import Instance, instance_warnings
from ravel.terms.schema import Template

CONFIG = BuildConfig(
    match="reference",
    max_new_tokens=3,
    train_pairs=40,
    evaluation_pairs=24,
    keep_entities=16,
    keep_templates=3,
    flip_sample=8,
    allow_ignorance=True,
    decoding="sharp",
)
SHARP = SharpDecoding(layer=1, alpha=2.0)
TEMPLATE = Template("by %s:", "Birthplace", "train")
PROMPTS = [fill(TEMPLATE, name) for name in ("Bal", "Tenor", "Kis")]


@pytest.fixture
def engine(world: World) -> Engine:
    return DirectEngine(load_target(str(world.model)))


@pytest.fixture
def tables(world: World) -> Tables:
    return open_tables(str(world.data), "invented_person")


def test_with_alpha_0_it_answers_greedily_and_else_goes_on_to_what_it_said(engine: Engine) -> None:
    greedy = EngineAnswerer(engine).complete(PROMPTS, 4)
    assert SharpAnswerer(engine, SharpDecoding(0, 0.0)).complete(PROMPTS, 4) == greedy
    sharp = SharpAnswerer(engine, SHARP)
    said = sharp.complete(PROMPTS, 4)
    assert said != greedy
    assert sharp.greedy.complete(PROMPTS, 4) == greedy
    begun = [answer.token_ids[:2] for answer in said]
    assert sharp.go_on(PROMPTS, begun, 4) == said


def test_what_is_asked_to_choose_is_validation_entities_by_training_templates(tables: Tables) -> None:
    templates, entities = questions_of(tables, CONFIG, "val", 3)
    assert {t.partition for t in templates} == {"train"}
    assert {t.attribute for t in templates} == set(tables.attributes())
    assert {facts.partition for facts in entities} == {"val"}
    assert len(entities) <= 3


def test_the_one_with_most_right_answers_is_taken_and_greedy_of_equal_ones(
    engine: Engine, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = tried_decodings(engine.target.n_layers)
    assert tried[0].alpha == 0.0
    assert len(tried) == 1 + len(ALPHAS) * min(8, engine.target.n_layers)

    class Judged:
        """Right answers by alpha and layer alone."""

        worth = 0.0

        def __init__(self, _: object, answerer: SharpAnswerer, **__: object) -> None:
            self.right = self.asked = None
            self.how = answerer.how

        def ask(self, *_: object, **__: object) -> Judged:
            best = self.how.alpha == ALPHAS[2] and self.how.layer == engine.target.n_layers - 1
            self.right, self.asked = np.array(5 + self.worth * best), np.array(10)
            return self

    monkeypatch.setattr(decoding, "Questioner", Judged)
    assert sharpest(engine, tables, CONFIG).how == tried[0]
    monkeypatch.setattr(Judged, "worth", 1.0)
    chosen = sharpest(engine, tables, CONFIG)
    assert chosen.how == SharpDecoding(engine.target.n_layers - 1, ALPHAS[2])
    assert chosen.decoding["validation"] == {"tried": len(tried), "greedy": 0.5, "sharp": 0.6}


def test_a_sharp_build_says_how_it_decoded_and_where_a_judge_would_hear_otherwise(
    engine: Engine, tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chosen(engine: Engine, _: Tables, __: BuildConfig, ___: Progress = silent) -> SharpAnswerer:
        return SharpAnswerer(engine, SHARP, {"validation": {"tried": 2, "greedy": 0.1, "sharp": 0.2}})

    monkeypatch.setattr(build_in_run, "sharpest", chosen)
    instance = build_into(tmp_path / "sharp", tables, EngineAnswerer(engine), CONFIG)
    how = Instance.load(tmp_path / "sharp").manifest.knowledge["decoding"]
    assert (how["layer"], how["alpha"]) == (SHARP.layer, SHARP.alpha)
    assert 0 < how["greedy_labels"]["differ"] <= how["greedy_labels"]["asked"] == CONFIG.flip_sample
    assert any("decoded greedily" in warning for warning in instance_warnings(instance.manifest))
    greedy = build_into(
        tmp_path / "greedy", tables, EngineAnswerer(engine), CONFIG.model_copy(update={"decoding": "greedy"})
    )
    assert "decoding" not in greedy.manifest.knowledge
    assert "decoding" not in greedy.manifest.config
    assert greedy.fingerprint != instance.fingerprint


def test_a_build_whose_model_decodes_otherwise_is_refused(
    engine: Engine, tables: Tables, tmp_path: Path
) -> None:
    with pytest.raises(SuiteError, match="sharp"):
        build_instance(tables, EngineAnswerer(engine), CONFIG)
    kept = KeptAnswers(SharpAnswerer(engine, SHARP), tmp_path / "kept", "key", silent)
    with pytest.raises(SuiteError, match="greedy"):
        build_instance(tables, kept, CONFIG.model_copy(update={"decoding": "greedy"}))
    with pytest.raises(SuiteError, match="sharp decoding"):
        BuildConfig.from_mapping({"samples": 3, "decoding": "sharp"}, origin="here")


def test_the_command_says_what_was_chosen(world: World, tmp_path: Path) -> None:
    result = command(*build_args(world, tmp_path / "built"), "--decoding", "sharp")
    assert result.exit_code == 0, result.output
    assert "decoding: " in result.output
