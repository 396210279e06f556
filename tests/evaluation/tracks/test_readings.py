"""Readings of detection and words of steering with a real model: what tests of planted worlds can't show."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from cli_world import SITE, World
from torch import Tensor

from das.detectors.attribution import Attribution
from das.detectors.directions import Directions
from das.detectors.question import Question
from das.detectors.tokens import maximum_over_tokens
from das.engine import DirectEngine, make_engine
from das.featurizers import Subspace
from das.methods.common.base import Problem
from das.methods.detection.prompt import stating_sentences
from das.methods.registry import METHODS
from das.models.load import load_target
from das.sites import Site
from das.training.workspace import SilentWorkspace
from evaluation.config.judging import Judging
from evaluation.judging.attacks import Attack, Attacker
from evaluation.scoring.erasure.cases import erased_cases
from evaluation.tracks import TRACKS
from ravel.common.errors import SuiteError
from ravel.instance import Instance

PLACE = Site.parse(SITE)


@pytest.fixture(scope="module")
def instance(world: World) -> Instance:
    return Instance.load(world.instance)


@pytest.fixture(scope="module")
def engine(world: World) -> DirectEngine:
    return DirectEngine(load_target(str(world.model)))


@pytest.fixture(scope="module")
def question(instance: Instance, engine: DirectEngine) -> Question:
    problem = Problem(instance.without_test(), "Birthplace", PLACE, 0, seed=0)
    found = METHODS.get("prompt")().fit(problem, engine, SilentWorkspace())
    assert isinstance(found, Question)
    return found


def test_the_highest_score_is_no_lower_than_that_of_any_token(
    instance: Instance, engine: DirectEngine
) -> None:
    prompts = [record.prompt for record in instance.prompts("entity_val")][:20]
    readers = torch.randn(engine.target.width(PLACE), 2, generator=torch.Generator().manual_seed(0))
    detector = Directions("Birthplace", ("a", "b"), readers)
    highest = maximum_over_tokens(detector, prompts, engine, PLACE)
    sites = [replace(PLACE, position=position) for position in ("entity_last", "prompt_last")]
    there = torch.stack([detector.scores(prompts, engine, site) for site in sites])
    assert bool((highest >= there - 1e-4).all())
    assert bool((highest > there + 1e-4).any())


def test_the_maximum_over_tokens_is_another_reading_of_vectors_alone(
    instance: Instance, engine: DirectEngine, question: Question
) -> None:
    track = TRACKS.get("detection")
    settings = ({}, {"reading": "site"}, {"reading": "max_over_tokens"})
    plain, site, highest = (track.judge(engine, Judging(settings=one)) for one in settings)
    whole = Subspace(torch.eye(engine.target.width(PLACE)))
    found = [judge.judge(instance, "entity_val", PLACE, whole) for judge in (plain, site, highest)]
    assert found[0] == found[1] != found[2]
    other = highest.on(DirectEngine(engine.target))
    assert other.judge(instance, "entity_val", PLACE, whole) == found[2]
    for finding in (None, question):
        asked = [judge.judge(instance, "entity_val", PLACE, finding) for judge in (site, highest)]
        assert asked[0] == asked[1]


@pytest.mark.parametrize("steps", [0, 2])
def test_engines_credit_alike(
    steps: int, instance: Instance, engine: DirectEngine, question: Question
) -> None:
    prompts = [r.prompt for r in instance.prompts("entity_val") if r.prompt.attribute == "Birthplace"][:6]
    baseline = torch.zeros(engine.target.width(PLACE))
    detector = Attribution("Birthplace", question.values, question.ids, baseline, steps=steps)
    direct, resumed = (
        detector.scores(prompts, one, PLACE) for one in (engine, make_engine("resume", engine.target))
    )
    torch.testing.assert_close(direct, resumed, atol=1e-4, rtol=1e-3)
    alone = torch.cat([detector.scores([prompt], engine, PLACE) for prompt in prompts])
    torch.testing.assert_close(alone, direct, atol=1e-4, rtol=1e-3)


def test_a_value_is_said_in_front_of_the_prompt(
    instance: Instance, engine: DirectEngine, question: Question
) -> None:
    sentences = stating_sentences(instance, "Birthplace", question.values)
    for sentence, value in zip(sentences, question.values, strict=True):
        assert sentence.endswith(f" {value}. ")
        assert sentence.count("%s") == 1
    judge = TRACKS.get("steering").judge(engine, Judging(settings={"strengths": [1, 2]}))
    said = judge.judge(instance, "entity_val", PLACE, question)
    plain = judge.judge(instance, "entity_val", PLACE, None)
    assert {outcome.strengths for outcome in said if outcome.target == "Birthplace"} == {(1.0,)}
    assert [outcome.case for outcome in said] == [outcome.case for outcome in plain]
    assert said != plain


def written(text: str) -> str:
    return f"<user>{text}<answer>"


@pytest.mark.parametrize("as_message", [False, True])
def test_attacks_ask_for_the_fact_name_it_or_show_others_with_the_value(
    as_message: bool, instance: Instance
) -> None:
    def front(attack: Attack) -> str:
        found = Attacker(attack, written, as_message).asked(instance, case, record)
        assert found.text[slice(*found.span)] == entity
        assert found.span[0] == len(found.text) - len(own.text) + own.span[0]
        said = found.text.removesuffix(own.text)
        if as_message and said:
            assert said.startswith("<user>")
            assert said.endswith(".<answer>")
            return said.removeprefix("<user>").removesuffix("<answer>") + " "
        return said

    for case in erased_cases(instance, "entity_val")[:20]:
        record = instance.prompt(case.case.rpartition(">")[0])
        own, entity = record.prompt, record.prompt.entity
        assert front("none") == ""
        assert front("named") == f"{own.text} {record.label.strip()}. "
        shown = front("demonstrations")
        assert 1 <= shown.count(f" {case.value}. ") <= 8
        assert entity not in shown
        assert f"the {str(own.attribute).lower()} of {entity} is" in front("instructions")


def test_what_attacks_a_message_stands_at_its_beginning(instance: Instance) -> None:
    case = erased_cases(instance, "entity_val")[0]
    plain = instance.prompt(case.case.rpartition(">")[0])
    rows = [
        {**row, "template": written(row["template"]), "chat": True} for row in instance.manifest.templates
    ]
    inside = replace(
        plain.prompt,
        text=written(plain.prompt.text),
        template=written(plain.prompt.template),
        span=(plain.prompt.span[0] + 6, plain.prompt.span[1] + 6),
    )
    chats = Instance(manifest=replace(instance.manifest, templates=tuple(rows)), prompts={}, pairs={})
    for attack in ("instructions", "named"):
        said = Attacker(attack, written).asked(instance, case, plain).text.removesuffix(plain.prompt.text)
        for as_message in (False, True):
            found = Attacker(attack, written, as_message).asked(chats, case, replace(plain, prompt=inside))
            assert found.text == written(said + plain.prompt.text)
            assert found.text[slice(*found.span)] == plain.prompt.entity


def test_a_message_needs_an_attack_and_a_chat_template(engine: DirectEngine) -> None:
    track = TRACKS.get("erasure")
    for attack, words in (("none", "with `chat: true` an attack"), ("instructions", "a chat template")):
        with pytest.raises(SuiteError, match=words):
            track.judge(engine, Judging(settings={"attack": attack, "chat": True}))


def test_an_attack_is_another_reading_of_erasure(instance: Instance, engine: DirectEngine) -> None:
    track = TRACKS.get("erasure")
    judges = [
        track.judge(engine, Judging(settings={"strengths": [1], "attack": attack}))
        for attack in ("none", "named", "instructions")
    ]
    whole = Subspace(torch.eye(engine.target.width(PLACE)))
    found = [judge.judge(instance, "entity_val", PLACE, whole) for judge in judges]
    assert found[0] != found[1]
    for other in found[1:]:
        assert [outcome.case for outcome in found[0]] == [outcome.case for outcome in other]
    for judge, outcomes in zip(judges[1:], found[1:], strict=True):
        again = judge.on(DirectEngine(engine.target))
        assert again.judge(instance, "entity_val", PLACE, whole) == outcomes


@pytest.mark.parametrize("name", ["reps", "loreft_reps", "reft_r1"])
def test_engines_train_alike(name: str, instance: Instance, engine: DirectEngine) -> None:
    method = METHODS.get(name)
    problem = Problem(instance.without_test(), "Birthplace", PLACE, 0, seed=0)

    def found(engine_name: str, **changes: object) -> dict[str, Tensor]:
        settings = {"steps": 3, "batch_size": 8, **changes}
        made = method(method.config_class.from_mapping(settings, origin="here"))
        return made.fit(problem, make_engine(engine_name, engine.target), SilentWorkspace()).state_dict()

    direct, resumed = found("direct"), found("resume")
    for part, tensor in direct.items():
        torch.testing.assert_close(resumed[part], tensor, atol=1e-3, rtol=1e-3)
    if name != "reft_r1":
        counted = found("direct", lengths="prompt_and_response")
        assert any(not torch.equal(counted[part], direct[part]) for part in direct)
