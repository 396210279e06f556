"""Answers that come close: which of two labels a free answer states, and who is judged that way."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from record_pairs import pair_of

from das.engine import DirectEngine
from das.engine.base.protocol import AnswerPair, PromptPair
from das.engine.engines.base_engine import BaseEngine
from das.featurizers.base import Featurizer
from das.featurizers.masked import MaskedBasis
from das.models.base import TargetModel
from das.models.instrument import Instrument
from das.sites import Site
from evaluation.judging.judge import NaturalAnswers, judge
from evaluation.judging.tolerance import ToleranceRule, tolerance_rules
from evaluation.scoring.interchange.metrics import scores
from ravel.asking.answerer import Decided
from ravel.asking.labels import extract_label
from ravel.instance import Instance, PromptRecord
from ravel.matching import NumberWithin, UtcOffset
from ravel.terms.schema import Completion, Prompt

SPLIT = "context_val"
SITE = Site(0)
DEGREES = ToleranceRule(NumberWithin(within=2))
ZONES = ToleranceRule(UtcOffset(at=date(2024, 1, 15)))
NAMES = {(True, False): "unchanged", (False, True): "swapped", (False, False): "neither"}


@pytest.mark.parametrize(
    ("text", "unchanged", "swapped", "verdict"),
    [
        (" 35 degrees", " 35", " 60", "unchanged"),
        (" 34.2° N", " 35", " 60", "unchanged"),
        (" 61.", " 35", " 60", "swapped"),
        # At the tolerance, and a degree beyond.
        (" 37", " 35", " 60", "unchanged"),
        (" 33", " 35", " 60", "unchanged"),
        (" 38", " 35", " 60", "neither"),
        (" 32", " 35", " 60", "neither"),
        # Only the integer part is compared, as labels have no other.
        (" 37.9", " 35", " 60", "unchanged"),
        # Signs count, and so does zero between them.
        (" -35", " 35", " 60", "neither"),
        (" -1", " 1", " 60", "unchanged"),
        (" \u221234", " -35", " 60", "unchanged"),
        (" 34", " \u221235", " 33", "swapped"),
        # Both are close: the nearer one, the label itself before all.
        (" 35", " 35", " 36", "unchanged"),
        (" 36", " 35", " 36", "swapped"),
        (" 34", " 35", " 36", "unchanged"),
        (" 37", " 35", " 36", "swapped"),
        (" 07", " 7", " 07", "swapped"),
        # As near to one as to the other.
        (" 11", " 10", " 12", "neither"),
        # No number is close to one, but a label is always itself.
        (" north", " 35", " 60", "neither"),
        ("", " 35", " 60", "neither"),
        ("\n", " 35", " 60", "neither"),
        (" north of it", " north of it", " 60", "unchanged"),
        (" south of it", " north of it", " south of it", "swapped"),
        (" 35", " north of it", " 34", "swapped"),
        # A token of three digits is no beginning of a number of four.
        (" 1000", " 100", " 60", "neither"),
        # A quote before the number is no part of it.
        ('"36"', ' "35"', " 60", "unchanged"),
    ],
)
def test_degrees_by_hand(text: str, unchanged: str, swapped: str, verdict: str) -> None:
    assert NAMES[DEGREES.verdict(text, unchanged, swapped)] == verdict
    assert DEGREES.verdict(text, swapped, unchanged) == DEGREES.verdict(text, unchanged, swapped)[::-1]


@pytest.mark.parametrize(
    ("text", "unchanged", "swapped", "verdict"),
    [
        (" Asia/Tokyo.", " Asia/Tokyo", " Europe/Rome", "unchanged"),
        (" UTC+9, all year", " Asia/Tokyo", " Europe/Rome", "unchanged"),
        (" +01:00", " Asia/Tokyo", " Europe/Rome", "swapped"),
        # Another zone of the same offset is another answer ...
        (" Asia/Seoul", " Asia/Tokyo", " Europe/Rome", "neither"),
        # ... and the offset of both tells nothing, but for the zone's own name.
        (" UTC+9", " Asia/Tokyo", " Asia/Seoul", "neither"),
        (" Asia/Seoul", " Asia/Tokyo", " Asia/Seoul", "swapped"),
        (" UTC+9", " UTC+9", " Asia/Tokyo", "unchanged"),
    ],
)
def test_zones_by_hand(text: str, unchanged: str, swapped: str, verdict: str) -> None:
    assert NAMES[ZONES.verdict(text, unchanged, swapped)] == verdict


@pytest.mark.parametrize("within", [0, 1, 2.5])
def test_all_small_numbers_are_judged_by_their_distance(within: float) -> None:
    rule = ToleranceRule(NumberWithin(within=within))
    for said, unchanged, swapped in itertools.product(range(-6, 7), repeat=3):
        if unchanged != swapped:
            near, far = abs(said - unchanged), abs(said - swapped)
            expected = (near <= within and near < far, far <= within and far < near)
            assert rule.verdict(f" {said} or so", f" {unchanged}", f" {swapped}") == expected


def test_a_settled_text_keeps_its_verdict() -> None:
    text = " -12 degrees, or so"
    settled = [DEGREES.settled(text[:n]) for n in range(len(text) + 1)]
    assert settled == sorted(settled)
    assert text[: settled.index(True)] == " -12 "
    zone = " Asia/Tokyo\n"
    assert [n for n in range(len(zone) + 1) if ZONES.settled(zone[:n])] == [len(zone)]


def test_who_has_a_tolerance() -> None:
    assert set(tolerance_rules("city")) == {"Timezone", "Latitude", "Longitude"}
    assert tolerance_rules("invented_person") == {}
    assert tolerance_rules("a type of my own") == {}


class Speaker:
    """An engine that says a fixed text for every base, a character a token, and keeps what it was asked."""

    name = "speaker"

    def __init__(self, texts: dict[str, str]) -> None:
        self.texts = texts
        self.said_of: list[str] = []
        self.completed: list[str] = []
        self.limits: set[int] = set()
        self.target: Any = SimpleNamespace(
            device=torch.device("cpu"),
            tokenizer=Letters(),
            name="speaker",
            fingerprint="speaker",
            instrument=Instrument({}, alias="speaker"),
            parts={},
        )

    def predicts(
        self, choices: Sequence[AnswerPair], site: Site, featurizer: Featurizer | None
    ) -> list[tuple[bool, bool]]:
        self.said_of += [choice.base.text for choice in choices]
        return [(True, False)] * len(choices)

    def complete_swapped(
        self,
        pairs: Sequence[PromptPair],
        site: Site,
        featurizer: Featurizer | None,
        max_new_tokens: int,
        decided: Decided | None = None,
    ) -> list[Completion]:
        self.completed += [pair.base.text for pair in pairs]
        self.limits.add(max_new_tokens)
        return [
            self._one(i, self.texts[pair.base.text], max_new_tokens, decided) for i, pair in enumerate(pairs)
        ]

    def _one(self, place: int, text: str, most: int, decided: Decided | None) -> Completion:
        ids: tuple[int, ...] = ()
        for letter in text[:most]:
            ids += (ord(letter),)
            if decided is not None and decided(place, ids):
                break
        return Completion("".join(map(chr, ids)), ids)


class Letters:
    """A tokenizer of letters."""

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) for letter in text]}

    def decode(self, ids: Sequence[int], **_: Any) -> str:
        return "".join(map(chr, ids))


def record(prompt_id: str, attribute: str, label: str) -> PromptRecord:
    prompt = Prompt(f"{prompt_id} has", "%s has", prompt_id, attribute, (0, len(prompt_id)))
    return PromptRecord(prompt_id, prompt, label, tuple(map(ord, label)), None)


def instance_of(
    labels: Sequence[tuple[str, str, str]],
    *,
    entity_type: str = "city",
    config: dict[str, Any] | None = None,
) -> Instance:
    """Pair i asks for an attribute, with the labels of the base `b<i>` and the source `s<i>`."""
    prompts, pairs = [], []
    for i, (attribute, unchanged, swapped) in enumerate(labels):
        base, source = record(f"b{i}", attribute, unchanged), record(f"s{i}", attribute, swapped)
        prompts += [base, source]
        pairs.append(pair_of(f"p{i}", base, source))
    return Instance.from_parts(
        entity_type=entity_type,
        model_name="toy",
        model_fingerprint="toy",
        prompts=prompts,
        pairs={SPLIT: pairs},
        config=config,
    )


LABELS = [
    ("Country", " Peru", " Chad"),
    ("Latitude", " 10", " 50"),
    ("Continent", " Asia", " Africa"),
    ("Longitude", " 10", " 50"),
    ("Latitude", " -3", " 4"),
]
TEXTS = {"b1 has": " 51 degrees", "b3 has": " 99", "b4 has": " -4."}


def test_only_attributes_with_a_tolerance_are_completed_and_the_order_stays() -> None:
    speaker, seen = Speaker(TEXTS), []
    outcomes = judge(
        instance_of(LABELS),
        SPLIT,
        speaker,
        SITE,
        None,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert [o.pair_id for o in outcomes] == ["p0", "p1", "p2", "p3", "p4"]
    verdicts = [NAMES[o.said_unchanged, o.said_swapped] for o in outcomes]
    assert verdicts == ["unchanged", "swapped", "unchanged", "neither", "unchanged"]
    assert (speaker.said_of, speaker.completed) == (["b0 has", "b2 has"], ["b1 has", "b3 has", "b4 has"])
    assert seen == [(2, 5), (5, 5)]


@pytest.mark.parametrize(
    ("entity_type", "tolerance"), [("city", False), ("a type of my own", True), ("invented_person", True)]
)
def test_all_others_are_forced(entity_type: str, tolerance: bool) -> None:
    speaker = Speaker({})
    instance = instance_of(LABELS, entity_type=entity_type)
    judge(instance, SPLIT, speaker, SITE, None, tolerance=tolerance)
    assert (len(speaker.said_of), speaker.completed) == (5, [])


@pytest.mark.parametrize(
    ("config", "label", "limit"),
    [({"max_new_tokens": 5}, " 10", 5), ({}, " 10", 8), ({"max_new_tokens": 2}, " 1000", 5)],
)
def test_a_free_answer_is_as_long_as_those_behind_the_labels(
    config: dict[str, Any], label: str, limit: int
) -> None:
    speaker = Speaker({"b0 has": " 7"})
    judge(instance_of([("Latitude", label, " 50")], config=config), SPLIT, speaker, SITE, None)
    assert speaker.limits == {limit}


def model_instance(engine: DirectEngine, make_prompt: Callable[..., Prompt]) -> Instance:
    """Pairs of made-up prompts with the miniature's own greedy answers as labels, whatever they are."""
    templates = {"Latitude": ["%s lies at", "Where is %s? At"], "Country": ["%s is in"]}
    entities = ["Ulm", "Oslo", "Lima", "Rome", "Bern", "Kyiv", "Bonn", "Paris"]
    prompts = {(t, e): make_prompt(t, e, a) for a, ts in templates.items() for t in ts for e in entities}
    records = {}
    for i, (key, said) in enumerate(zip(prompts, engine.complete(list(prompts.values()), 6), strict=True)):
        label = extract_label(said.text, numeric=prompts[key].attribute == "Latitude")
        if label:
            records[key] = PromptRecord(f"q{i}", prompts[key], label, said.token_ids[:4], None)
    pairs = [
        pair_of(f"{b.prompt_id}-{w.prompt_id}", b, w)
        for (template, _), b in records.items()
        for (other, _), w in records.items()
        if other == template and b.label != w.label and b.label_ids != w.label_ids
    ]
    return Instance.from_parts(
        entity_type="city",
        model_name="toy",
        model_fingerprint=engine.target.fingerprint,
        prompts=records.values(),
        pairs={SPLIT: pairs},
        config={"max_new_tokens": 6},
    )


class Slow(DirectEngine):
    """Continues the plain way, to the end of every answer."""

    _continued = BaseEngine._continued


def test_a_real_model_left_alone_says_its_labels(
    small_target: TargetModel, make_prompt: Callable[..., Prompt]
) -> None:
    """The instrument's check, for free answers as well: cause 0 and isolate 1."""
    engine = DirectEngine(small_target)
    instance = model_instance(engine, make_prompt)
    assert sum(pair.attribute == "Latitude" for pair in instance.pairs(SPLIT)) > 20
    nothing = MaskedBasis(torch.zeros(small_target.d_model), None)
    for featurizer in (None, nothing):
        found = scores(judge(instance, SPLIT, engine, Site(1), featurizer), "Latitude")
        assert (found.cause, found.isolate) == (0, 1)


def test_a_real_model_is_judged_as_by_whole_answers_forced_token_by_token(
    small_target: TargetModel, make_prompt: Callable[..., Prompt]
) -> None:
    instance = model_instance(DirectEngine(small_target), make_prompt)
    half = MaskedBasis((torch.arange(small_target.d_model) % 2).float(), None)
    site = Site(2, position="prompt_last")
    found = judge(instance, SPLIT, DirectEngine(small_target), site, half)
    assert found == judge(instance, SPLIT, Slow(small_target), site, half)
    assert any(o.attribute == "Latitude" and not o.said_unchanged for o in found)


def test_what_a_model_says_by_itself_is_a_short_cut_and_no_more(
    small_target: TargetModel, make_prompt: Callable[..., Prompt]
) -> None:
    """With natural answers known, few pairs are completed, and every outcome is the same."""
    engine = DirectEngine(small_target)
    instance = model_instance(engine, make_prompt)
    natural = NaturalAnswers(engine)
    halves = [(torch.arange(small_target.d_model) % n == 0).float() for n in (1, 2, 8)]
    for featurizer in (None, *(MaskedBasis(mask, None) for mask in halves)):
        for site in (Site(2, position="prompt_last"), Site(1)):
            plain = judge(instance, SPLIT, engine, site, featurizer)
            assert judge(instance, SPLIT, engine, site, featurizer, natural=natural) == plain
