"""Whole fits and judgements on every engine: the same losses, and the same verdicts but where two tokens are
about equally likely."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from record_pairs import pair_of
from torch import Tensor

from das.engine import Engine, ForcedPair, make_engine
from das.featurizers.base import Featurizer
from das.methods.common.base import Problem
from das.methods.registry import METHODS
from das.models import TargetModel
from das.sites import Site
from das.training.workspace import SilentWorkspace
from evaluation.config.judging import DEFAULT_LABEL_TOKENS
from evaluation.judging.judge import judge
from evaluation.records.scores import Outcome
from ravel.instance import Instance, PromptRecord
from ravel.terms.schema import InterchangePair

SPLIT = "context_test"
NEAR = 1e-3
"""Two logits that are closer than this share of the larger one may change places by rounding."""
TEMPLATES = {
    "A": {
        "train": ("%s lies in", "Where is %s? In"),
        "context_val": ("We found %s in",),
        SPLIT: ("So %s is in",),
    },
    "B": {
        "train": ("%s speaks", "The tongue of %s is"),
        "context_val": ("In %s: say",),
        SPLIT: ("All %s talk",),
    },
}
ENTITIES = ("Ulm", "Oslo", "Lima", "Rome", "Bern", "Kyiv")
SITES = {"das": Site(1), "mdas": Site(2, position="prompt_last"), "dbm": Site(1, "mlp_output")}
FAST: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 16,
    "log_every": 1,
    "validation_pairs": 20,
    "learning_rate": 0.05,
}


class Listening(SilentWorkspace):
    """Keeps the losses of a fit."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def log(self, row: dict[str, Any]) -> None:
        if "loss" in row:
            self.losses.append(row["loss"])


def make_instance(engine: Engine, make_prompt: Callable[..., Any]) -> Instance:
    """Pairs of made-up prompts; a label is what the miniature itself says, one to three tokens of it."""
    keys = [
        (attribute, split, template, entity)
        for attribute, splits in TEMPLATES.items()
        for split, templates in splits.items()
        for template, entity in product(templates, ENTITIES)
    ]
    prompts = [make_prompt(template, entity, attribute) for attribute, _, template, entity in keys]
    said = engine.complete(prompts, 3)
    records = {
        key: PromptRecord(f"q{i}", prompt, f"{ids}", ids, True)
        for i, (key, prompt, completion) in enumerate(zip(keys, prompts, said, strict=True))
        for ids in [completion.token_ids[: 1 + i % 3]]
    }
    pairs: dict[str, list[InterchangePair]] = {}
    for base, source in product(records, records):
        swapped = records[(*base[:3], source[3])]
        if base[1] == source[1] and records[base].label_ids != swapped.label_ids:
            pair_id = f"{records[base].prompt_id}-{records[source].prompt_id}"
            pairs.setdefault(base[1], []).append(pair_of(pair_id, records[base], records[source], swapped))
    return Instance.from_parts(
        entity_type="toy",
        model_name="toy",
        model_fingerprint=engine.target.fingerprint,
        prompts=records.values(),
        pairs={split: found[:: max(1, len(found) // 160)] for split, found in pairs.items()},
        attribute_order=tuple(TEMPLATES),
    )


@pytest.fixture(scope="module")
def instance(small_target: TargetModel, make_prompt: Callable[..., Any]) -> Instance:
    return make_instance(make_engine("direct", small_target), make_prompt)


def fitted(name: str, engine: Engine, instance: Instance) -> tuple[list[float], Featurizer]:
    workspace, method = Listening(), METHODS.get(name)
    problem = Problem(instance.without_test(), "A", SITES[name], size=6, seed=3)
    settings = method.config_class.from_mapping(FAST, origin="a test")
    return workspace.losses, method(settings).fit(problem, engine, workspace)


def gap(
    instance: Instance, pair: InterchangePair, engine: Engine, site: Site, swap: Featurizer | None
) -> float:
    """How near the two largest logits come to each other at the places that decide about a pair, relative to
    the larger."""
    base = instance.prompt(pair.base)
    source = instance.prompt(pair.source).prompt
    found = []
    for label in (base.label_ids, instance.prompt(pair.swapped).label_ids):
        forced = ForcedPair(base.prompt, source, label[:DEFAULT_LABEL_TOKENS])
        logits = engine.interchange_logits([forced], site, swap)[0].detach()
        first, second = logits.topk(2).values.unbind(-1)
        found.append(((first - second) / logits.abs().amax(dim=-1)).min().item())
    return min(found)


def flips(
    instance: Instance,
    one: list[Outcome],
    other: list[Outcome],
    engine: Engine,
    site: Site,
    swap: Featurizer | None,
) -> dict[str, float]:
    """Pairs of which two engines judge otherwise, with how near a tie each is."""
    pairs = instance.pairs(SPLIT)
    assert len(one) == len(other) == len(pairs)
    return {
        pair.pair_id: gap(instance, pair, engine, site, swap)
        for pair, mine, its in zip(pairs, one, other, strict=True)
        if mine != its
    }


@pytest.mark.parametrize("name", SITES)
def test_fits_and_judgements_are_the_same_on_every_engine(
    small_target: TargetModel, instance: Instance, name: str
) -> None:
    site = SITES[name]
    direct = make_engine("direct", small_target)
    losses, featurizer = fitted(name, direct, instance)
    assert len(losses) > 8
    assert losses[0] != pytest.approx(losses[-1], rel=1e-2)
    judged = judge(instance, SPLIT, direct, site, featurizer)
    assert len({(o.said_swapped, o.said_unchanged) for o in judged}) > 1
    for other in ("resume", "reference"):
        engine = make_engine(other, small_target)
        found_losses, found = fitted(name, engine, instance)
        assert found_losses == pytest.approx(losses, rel=1e-3), other
        for swap, expected in ((featurizer, judged), (found, judge(instance, SPLIT, direct, site, found))):
            apart = flips(instance, expected, judge(instance, SPLIT, engine, site, swap), direct, site, swap)
            assert all(near < NEAR for near in apart.values()), (other, apart)
        apart = flips(instance, judged, judge(instance, SPLIT, engine, site, found), direct, site, featurizer)
        assert all(near < 10 * NEAR for near in apart.values()), (other, apart)


def test_judgements_of_a_random_swap_are_the_same(small_target: TargetModel, instance: Instance) -> None:
    """No fit stands between: whatever differs is rounding."""
    swap = METHODS.get("random_subspace")
    for site in (Site(0), Site(2), Site(1, "attention_output"), Site(2, "head_output", head=1)):
        problem = Problem(instance.without_test(), "A", site, size=4, seed=0)
        direct, resume = make_engine("direct", small_target), make_engine("resume", small_target)
        method = swap(swap.config_class.from_mapping({}, origin="a test"))
        for featurizer in (None, method.fit(problem, direct, SilentWorkspace())):
            one, other = (judge(instance, SPLIT, engine, site, featurizer) for engine in (direct, resume))
            apart = flips(instance, one, other, direct, site, featurizer)
            assert all(near < NEAR for near in apart.values()), apart


def test_a_flip_that_is_no_tie_would_be_found(small_target: TargetModel, instance: Instance) -> None:
    """The check itself: a verdict turned round by hand is far from a tie."""
    engine = make_engine("resume", small_target)
    judged = judge(instance, SPLIT, engine, Site(1), None)
    turned = [replace(outcome, said_unchanged=not outcome.said_unchanged) for outcome in judged]
    apart = flips(instance, judged, turned, engine, Site(1), None)
    assert len(apart) == len(judged)
    assert sum(near > NEAR for near in apart.values()) > len(judged) / 2


def test_a_fit_repeats_to_the_bit_whatever_was_asked_before(
    small_target: TargetModel, instance: Instance
) -> None:
    """On the resume engine, whose kept states came out of other batches."""
    fresh, used = make_engine("resume", small_target), make_engine("resume", small_target)
    judge(instance, SPLIT, used, Site(0), None)
    fitted("dbm", used, instance)
    losses, featurizer = fitted("das", fresh, instance)
    again, same = fitted("das", used, instance)
    assert again == losses
    states: list[dict[str, Tensor]] = [dict(found.state_dict()) for found in (featurizer, same)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
