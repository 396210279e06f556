"""Derived instances of the controls: all laws of instances hold, answers are shuffled and nothing else is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from planted_world import PlantedWorld
from record_pairs import pair_of

from evaluation.suite.controls._derived import (
    Answers,
    permuted_values,
    replaced_sources,
    shuffled_answers,
)
from ravel.asking.labels import distinct_within
from ravel.instance import Instance, PromptRecord
from ravel.terms.schema import InterchangePair, Prompt

WORLD = PlantedWorld(0, n_entities=60)
INSTANCE = WORLD.instance(n_pairs=150, n_held_out=60)
LABEL_TOKENS = 3
Derive = Callable[[Instance, int], Instance]

DERIVED: dict[str, Derive] = {
    "shuffled": lambda instance, seed: shuffled_answers(instance, seed, LABEL_TOKENS),
    "permuted": lambda instance, seed: permuted_values(instance, seed, LABEL_TOKENS, keep_own=True),
    "permuted_all": lambda instance, seed: permuted_values(instance, seed, LABEL_TOKENS, keep_own=False),
    "replaced": replaced_sources,
}
each = pytest.mark.parametrize("derive", DERIVED.values(), ids=DERIVED)


def all_pairs(instance: Instance) -> dict[str, InterchangePair]:
    return {pair.pair_id: pair for split in instance.splits() for pair in instance.pairs(split)}


@each
def test_pairs_keep_the_laws_of_instances(derive: Derive) -> None:
    found = derive(INSTANCE, 0)
    assert found.attributes == INSTANCE.attributes
    assert found.splits() == INSTANCE.splits()
    before = all_pairs(INSTANCE)
    for split in found.splits():
        own = found.pairs(split)
        # What from_parts checks holds, for it made them; here is what it does not look at.
        assert len({pair.pair_id for pair in own}) == len(own)
        assert [p.pair_id for p in own] == [
            p.pair_id for p in INSTANCE.pairs(split) if p.pair_id in all_pairs(found)
        ]
        for pair in own:
            base, swapped = found.prompt(pair.base), found.prompt(pair.swapped)
            assert distinct_within(base.label_ids, swapped.label_ids, LABEL_TOKENS)
            old = before[pair.pair_id]
            assert (pair.attribute, pair.base_template, pair.base_entity, pair.source_kind) == (
                old.attribute,
                old.base_template,
                old.base_entity,
                old.source_kind,
            )
            assert found.prompt(pair.base).prompt == INSTANCE.prompt(old.base).prompt


@each
def test_equal_seeds_give_equal_instances_and_others_do_not(derive: Derive) -> None:
    assert derive(INSTANCE, 3).fingerprint == derive(INSTANCE, 3).fingerprint
    assert derive(INSTANCE, 3).fingerprint != derive(INSTANCE, 4).fingerprint
    assert derive(INSTANCE, 3).fingerprint != INSTANCE.fingerprint


@each
def test_what_can_be_read_without_the_test_splits_is_the_same(derive: Derive) -> None:
    whole, withheld = derive(INSTANCE, 0), derive(INSTANCE.without_test(), 0)
    for split in ("train", "context_val"):
        assert [_content(whole, p) for p in whole.pairs(split)] == [
            _content(withheld, p) for p in withheld.pairs(split)
        ]


def _content(instance: Instance, pair: InterchangePair) -> tuple[str, str, str, str]:
    source = instance.prompt(pair.source).prompt.text
    return pair.pair_id, pair.if_unchanged, pair.if_swapped, source


def test_shuffled_answers_keep_their_numbers_and_lose_their_pairs() -> None:
    found = shuffled_answers(INSTANCE, 0, LABEL_TOKENS)
    for split in INSTANCE.splits():
        for template in {pair.base_template for pair in INSTANCE.pairs(split)}:
            before, after = (
                [p for p in i.pairs(split) if p.base_template == template] for i in (INSTANCE, found)
            )
            assert len(after) == len(before)
            assert Counter(p.if_swapped for p in after) == Counter(p.if_swapped for p in before)
            assert [p.if_unchanged for p in after] == [p.if_unchanged for p in before]
            assert [p.source for p in after] == [p.source for p in before]
            equal = sum(a.if_swapped == b.if_swapped for a, b in zip(after, before, strict=True))
            # A third of the three answers that are left, give or take.
            assert equal < 0.55 * len(after)


def test_permuted_values_are_one_function_of_the_entity() -> None:
    for keep_own in (True, False):
        found = permuted_values(INSTANCE, 0, LABEL_TOKENS, keep_own=keep_own)
        told: dict[tuple[str, str], set[str]] = {}
        for pair in all_pairs(found).values():
            told.setdefault((pair.attribute, pair.source_entity), set()).add(pair.if_swapped)
            if not keep_own:
                told.setdefault((pair.attribute, pair.base_entity), set()).add(pair.if_unchanged)
        assert {len(answers) for answers in told.values()} == {1}
        true = Answers.of(INSTANCE)
        changed = [
            next(iter(answers)) != true.of_entity(attribute, entity, "").label  # type: ignore[union-attr]
            for (attribute, entity), answers in told.items()
        ]
        assert 0.5 < sum(changed) / len(changed) < 1


def test_a_base_keeps_its_own_answer_where_it_should() -> None:
    before = all_pairs(INSTANCE)
    kept = all_pairs(permuted_values(INSTANCE, 0, LABEL_TOKENS, keep_own=True)).values()
    assert all(pair.if_unchanged == before[pair.pair_id].if_unchanged for pair in kept)
    traded = all_pairs(permuted_values(INSTANCE, 0, LABEL_TOKENS, keep_own=False)).values()
    assert any(pair.if_unchanged != before[pair.pair_id].if_unchanged for pair in traded)


def test_replaced_sources_are_foreign_and_the_answers_stay() -> None:
    found = replaced_sources(INSTANCE, 0)
    before = all_pairs(INSTANCE)
    assert all_pairs(found).keys() == before.keys()
    for pair in all_pairs(found).values():
        old = before[pair.pair_id]
        assert pair.source_entity not in (old.base_entity, old.source_entity)
        assert (pair.if_unchanged, pair.if_swapped) == (old.if_unchanged, old.if_swapped)
        assert found.prompt(pair.source) == INSTANCE.prompt(pair.source)
    for split in INSTANCE.splits():
        used, was = (Counter(p.source for p in i.pairs(split)) for i in (found, INSTANCE))
        assert used == was


def test_a_pair_for_which_nothing_is_left_is_left_out() -> None:
    """Two entities and two values: no other answer differs from the base's, and no entity is a third."""
    records = {
        (entity, wording): PromptRecord(
            f"{wording}-{entity}",
            Prompt(f"{wording} {entity}", f"{wording} %s", entity, "A", (len(wording) + 1, len(wording) + 2)),
            label,
            (ord(label),),
            None,
        )
        for entity, label in (("p", "x"), ("q", "y"))
        for wording in ("train", "test")
    }

    def pair(base: str, source: str, wording: str) -> InterchangePair:
        return pair_of(f"{wording}-{base}{source}", records[base, wording], records[source, wording])

    instance = Instance.from_parts(
        entity_type="made up",
        model_name="none",
        model_fingerprint="none",
        prompts=records.values(),
        pairs={"train": [pair("p", "q", "train")], "context_test": [pair("q", "p", "test")]},
    )
    assert shuffled_answers(instance, 0, LABEL_TOKENS).splits() == []
    assert replaced_sources(instance, 0).splits() == []
    # p gets y and q gets x: a swap of either would bring what the base says by itself.
    assert permuted_values(instance, 0, LABEL_TOKENS, keep_own=True).attributes == ()
    both = permuted_values(instance, 0, LABEL_TOKENS, keep_own=False)
    assert [(p.if_unchanged, p.if_swapped) for p in both.pairs("train")] == [("y", "x")]


def test_the_usual_answer_stands_for_a_template_that_was_never_asked() -> None:
    def record(number: int, label: str) -> PromptRecord:
        prompt = Prompt(f"{number} Ulm", f"{number} %s", "Ulm", "A", (2, 5))
        return PromptRecord(f"q{number}", prompt, label, (number,), None)

    asked = {f"{n} %s": record(n, label) for n, label in enumerate([" x", "y", " y", "x", "x"])}
    answers = Answers({("A", "Ulm"): asked})
    assert answers.of_entity("A", "Ulm", "2 %s") == asked["2 %s"]
    usual = answers.of_entity("A", "Ulm", "9 %s")
    assert usual is not None
    assert usual.label.strip() == "x"
    assert answers.of_entity("A", "Bern", "2 %s") is None
    assert answers.of_entity("B", "Ulm", "2 %s") is None
