"""Every kind of leak is found where it is put, is counted right, and a clean instance has none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leaking_world import clean, counts, errors, parts, put_together, renamed, swap_in

from ravel.checking.leaks import LEAK_CHECKS, find_leaks, has_leaks
from ravel.instance import Instance
from ravel.terms.mentions import mentions, same_letters, same_text
from ravel.terms.schema import SLOT, InterchangePair

FEW = settings(max_examples=15, deadline=None)
spelled = st.sampled_from([str, str.upper, str.lower, str.swapcase, str.capitalize])
numbers = st.integers(0, 10**6)

BEFORE = {
    "entity_val": ("train",),
    "entity_test": ("train", "context_val", "entity_val", "entity_context_val"),
    "entity_context_val": ("train",),
    "entity_context_test": ("train", "context_val", "entity_val", "entity_context_val"),
}


def pick(instance: Instance, split: str, number: int) -> InterchangePair:
    """Take one pair of a split."""
    found = instance.pairs(split)
    return found[number % len(found)]


def having(instance: Instance, splits: tuple[str, ...], test: Callable[[InterchangePair], bool]) -> int:
    """Count pairs in these splits."""
    return sum(test(pair) for split in splits for pair in instance.pairs(split))


def templates_of(instance: Instance, pair: InterchangePair) -> set[str]:
    return {instance.prompt(name).prompt.template for name in (pair.base, pair.source)}


def test_a_clean_instance_has_no_leak_of_any_kind() -> None:
    assert find_leaks(clean()) == ()


def test_every_check_has_a_name_of_its_own_and_errors_come_first() -> None:
    kinds = [check.kind for check in LEAK_CHECKS]
    severities = [check.severity for check in LEAK_CHECKS]
    assert len(set(kinds)) == len(kinds)
    assert severities == sorted(severities)


@given(st.randoms(use_true_random=False))
@FEW
def test_order_and_fresh_names_make_no_leak(random: object) -> None:
    prompts, pairs = parts(clean())
    for found in pairs.values():
        random.shuffle(found)  # type: ignore[attr-defined]
    shuffled = put_together(prompts, pairs)
    fresh = renamed(shuffled, entity=lambda name: f"Q{name}q", template=lambda text: f"Well, {text}")
    assert find_leaks(shuffled) == find_leaks(fresh) == ()


@given(st.sampled_from(sorted(BEFORE)), numbers, numbers, spelled, st.booleans())
@FEW
def test_a_held_out_entity_seen_before_is_found_in_any_spelling(
    split: str, number: int, other: int, spell: Callable[[str], str], late: bool
) -> None:
    instance = clean()
    earlier = BEFORE[split][-1 if late else 0]
    held_out, known = pick(instance, split, number).base_entity, pick(instance, earlier, other).source_entity
    spoiled = renamed(instance, entity=swap_in(held_out, spell(known)))
    concerned = [name for name in BEFORE if earlier in BEFORE[name] and name != earlier]
    wanted = having(instance, tuple(concerned), lambda p: held_out in (p.base_entity, p.source_entity))
    assert counts(spoiled)["held_out_entity"] == wanted > 0
    assert "held_out_template" not in counts(spoiled)


@given(st.sampled_from(["context_val", "context_test", "entity_context_test"]), numbers, numbers, spelled)
@FEW
def test_a_held_out_template_seen_before_is_found_in_any_spelling(
    split: str, number: int, other: int, spell: Callable[[str], str]
) -> None:
    instance = clean()
    held_out, known = (
        pick(instance, split, number).base_template,
        pick(instance, "train", other).base_template,
    )
    again = spell(known).replace(SLOT.upper(), SLOT).replace(" ", "  ", 1)
    spoiled = renamed(instance, template=swap_in(held_out, again))
    wanted = having(
        instance,
        ("context_val", "context_test", "entity_context_val", "entity_context_test"),
        lambda pair: held_out in templates_of(instance, pair),
    )
    assert counts(spoiled)["held_out_template"] == wanted > 0
    assert "held_out_entity" not in counts(spoiled)


def test_a_test_template_that_selection_reads_is_found() -> None:
    instance = clean()
    of_val, of_test = (pick(instance, f"context_{part}", 0).base_template for part in ("val", "test"))
    spoiled = renamed(instance, template=swap_in(of_test, of_val))
    wanted = having(
        instance,
        ("context_test", "entity_context_test"),
        lambda pair: of_test in templates_of(instance, pair),
    )
    assert counts(spoiled)["held_out_template"] == wanted > 0


def test_an_attribute_free_text_is_held_out_like_a_template() -> None:
    instance = clean()
    spoiled = renamed(instance, template=swap_in(f"Text D tells of {SLOT}", f"Text A tells of {SLOT}"))
    assert errors(spoiled) == {"held_out_template"}


def test_context_splits_may_have_known_entities_and_entity_splits_known_templates() -> None:
    instance = clean()
    entities = {pair.base_entity for pair in instance.pairs("train")}
    assert {pair.base_entity for pair in instance.pairs("context_test")} <= entities
    templates = {pair.base_template for pair in instance.pairs("train")}
    assert {pair.base_template for pair in instance.pairs("entity_test")} <= templates
    assert not has_leaks(find_leaks(instance))


ways_to_write = st.sampled_from([str, str.upper, lambda name: name[:1].upper() + name[1:]])
places = st.sampled_from(["{0}, {1}", "{1} ({0}!)", '"{0}": {1}', "{1} unlike {0}"])


@given(st.sampled_from(clean().splits()), numbers, st.booleans(), st.booleans(), ways_to_write, places)
@FEW
def test_a_demonstration_entity_of_the_pair_is_found(
    split: str, number: int, of_base: bool, in_base: bool, write: Callable[[str], str], place: str
) -> None:
    instance = clean()
    pair = pick(instance, split, number)
    name = pair.base_entity if of_base else pair.source_entity
    prompt = instance.prompt(pair.base if in_base else pair.source).prompt
    spoiled = renamed(instance, template=swap_in(prompt.template, place.format(write(name), prompt.template)))
    kind = "named_in_text" if prompt.attribute is None else "named_in_question"
    wanted = having(
        instance,
        tuple(instance.splits()),
        lambda p: name in (p.base_entity, p.source_entity) and prompt.template in templates_of(instance, p),
    )
    assert counts(spoiled)[kind] == wanted > 0
    assert errors(spoiled) == {kind}


@given(st.sampled_from(clean().splits()), numbers)
@FEW
def test_a_name_inside_another_word_is_no_mention(split: str, number: int) -> None:
    instance = clean()
    pair = pick(instance, split, number)
    spoiled = renamed(instance, template=lambda text: f"Un{pair.base_entity}ish: {text}")
    assert find_leaks(spoiled) == ()


@given(st.sampled_from(clean().splits()), numbers, st.sampled_from([str.upper, str.lower, str.swapcase]))
@FEW
def test_one_entity_in_two_spellings_is_found(split: str, number: int, spell: Callable[[str], str]) -> None:
    instance = clean()
    pair = pick(instance, split, number)
    spoiled = renamed(instance, entity=swap_in(pair.source_entity, spell(pair.base_entity)))
    both = {pair.base_entity, pair.source_entity}
    wanted = having(instance, tuple(instance.splits()), lambda p: {p.base_entity, p.source_entity} == both)
    assert counts(spoiled)["one_entity"] == wanted > 0
    assert errors(spoiled) == {"one_entity"}
    assert counts(spoiled)["near_spellings"] == 2


@given(st.sampled_from(clean().splits()), numbers, st.integers(1, 3))
@FEW
def test_a_pair_that_stands_twice_is_found(split: str, number: int, times: int) -> None:
    prompts, pairs = parts(clean())
    again = pick(clean(), split, number)
    pairs[split] += [replace(again, pair_id=f"again-{i}") for i in range(times)]
    assert counts(put_together(prompts, pairs)) == {"repeated_pair": times}


@given(st.sampled_from(clean().splits()), st.sampled_from(clean().splits()), numbers)
@FEW
def test_a_pair_of_another_split_is_found(split: str, other: str, number: int) -> None:
    if split == other:
        return
    prompts, pairs = parts(clean())
    pairs[split].append(replace(pick(clean(), other, number), pair_id="again"))
    found = counts(put_together(prompts, pairs))
    assert found["pair_in_two_splits"] == 1
    assert "repeated_pair" not in found


@given(st.sampled_from(clean().splits()), st.sampled_from(clean().splits()), numbers, numbers)
@FEW
def test_a_repeated_id_is_found(split: str, other: str, number: int, place: int) -> None:
    prompts, pairs = parts(clean())
    taken = pick(clean(), other, number).pair_id
    index = place % len(pairs[split])
    if pairs[split][index].pair_id == taken:
        return
    pairs[split][index] = replace(pairs[split][index], pair_id=taken)
    assert counts(put_together(prompts, pairs)) == {"repeated_pair_id": 1}


def test_the_same_texts_under_other_ids_are_the_same_pair() -> None:
    prompts, pairs = parts(clean())
    pair = pairs["train"][0]
    twin = replace(clean().prompt(pair.base), prompt_id="twin")
    pairs["train"].append(replace(pair, pair_id="again", base="twin"))
    assert counts(put_together([*prompts, twin], pairs)) == {"repeated_pair": 1}


@given(numbers, st.sampled_from(["val", "test"]), st.booleans())
@FEW
def test_what_the_manifest_says_is_compared(number: int, partition: str, of_template: bool) -> None:
    prompts, pairs = parts(clean())
    pair = pick(clean(), "train", number)
    row = {"template": pair.base_template, "attribute": pair.attribute, "partition": partition}
    spoiled = put_together(
        prompts,
        pairs,
        entities=None if of_template else {partition: [pair.base_entity]},
        templates=[row] if of_template else None,
    )
    assert errors(spoiled) == {"wrong_partition"}


def test_the_manifest_of_a_build_agrees_with_its_pairs() -> None:
    assert clean().manifest.entities
    assert clean().manifest.templates
    assert "wrong_partition" not in counts(clean())


def test_an_accent_is_a_note_and_tells_cities_apart() -> None:
    instance = clean()
    known = pick(instance, "train", 0).base_entity
    held_out = pick(instance, "entity_test", 0).base_entity
    accented = known.replace("a", "á").replace("i", "í").replace("e", "é").replace("o", "ó").replace("u", "ú")
    spoiled = renamed(instance, entity=swap_in(held_out, accented))
    assert counts(spoiled) == {"near_spellings": 2}
    assert not has_leaks(find_leaks(spoiled))


def test_a_held_out_demonstration_in_training_is_a_note() -> None:
    instance = clean()
    template = pick(instance, "train", 0).base_template
    held_out = pick(instance, "entity_test", 0).base_entity
    wanted = having(instance, ("train",), lambda pair: template in templates_of(instance, pair))
    held_out_pairs = having(
        instance,
        ("entity_val", "entity_test"),
        lambda p: held_out in (p.base_entity, p.source_entity) and template in templates_of(instance, p),
    )
    found = counts(renamed(instance, template=swap_in(template, f"{held_out} is near. {template}")))
    assert found["held_out_demonstration"] == wanted > 0
    assert found.get("named_in_question", 0) == held_out_pairs


def test_stated_answers_are_notes_of_three_kinds() -> None:
    instance = clean()
    pair = next(p for p in instance.pairs("train") if p.source_kind == "attribute_free")
    free = instance.prompt(pair.source).prompt.template
    said = pair.if_swapped.strip()
    in_text = counts(renamed(instance, template=swap_in(free, f"{said}. {free}")))
    assert set(in_text) == {"answer_in_text"}
    question = pair.base_template
    in_question = counts(renamed(instance, template=swap_in(question, f"X: {said}. {question}")))
    assert set(in_question) == {"answer_in_question", "answer_in_source"}
    assert not has_leaks(find_leaks(renamed(instance, template=swap_in(free, f"{said}. {free}"))))


def test_a_free_text_that_asks_is_a_note() -> None:
    instance = clean()
    free = f"Text A tells of {SLOT}"
    question = next(p.base_template for p in instance.pairs("train"))
    spoiled = counts(renamed(instance, template=swap_in(free, question.upper().replace("%S", SLOT))))
    wanted = having(
        instance, tuple(instance.splits()), lambda p: instance.prompt(p.source).prompt.template == free
    )
    assert spoiled["text_asks"] == wanted > 0


def test_withheld_splits_are_not_looked_at() -> None:
    prompts, pairs = parts(clean())
    pairs["entity_test"].append(replace(pick(clean(), "train", 0), pair_id="again"))
    spoiled = put_together(prompts, pairs)
    assert errors(spoiled) == {"held_out_entity", "pair_in_two_splits"}
    assert find_leaks(spoiled.without_test()) == ()


def test_a_leak_says_how_many_where_and_which() -> None:
    prompts, pairs = parts(clean())
    again = pick(clean(), "entity_val", 3)
    pairs["entity_val"].append(replace(again, pair_id="again"))
    (leak,) = find_leaks(put_together(prompts, pairs))
    total = sum(len(found) for found in pairs.values())
    assert (leak.severity, leak.count, leak.of) == ("error", 1, total)
    assert leak.examples == (f"again in entity_val, like {again.pair_id}",)
    assert leak.text == (
        "repeated_pair: the same base and source stand twice in a split: "
        f"1 of {total} pairs (entity_val 1), such as again in entity_val, like {again.pair_id}"
    )


@pytest.mark.parametrize(
    ("template", "words", "found"),
    [
        ("Paris is in France. %s is in", "Paris", True),
        ("Parisian: %s", "Paris", False),
        ("a nice view of %s", "Nice", False),
        ("Amethyst is purple, %s is", "amethyst", True),
        ("AMETHYST: %s", "amethyst", True),
        ("%s", "s", False),
        ('{"a": "Rio de Janeiro", "b": "%s"', "Rio de Janeiro", True),
        ("born in 1931. %s", ' "1931', True),
        ("at 12 degrees, %s", "-12", False),
        ("at -12 degrees, %s", " -12", True),
        ("C++ and %s", "C++", True),
        ("anything %s", ' "', False),
        ("anything %s", "", False),
    ],
)
def test_mentions_by_hand(template: str, words: str, found: bool) -> None:
    assert mentions(template, words) is found


def test_spellings_by_hand() -> None:
    assert same_text(" Rio  de\nJaneiro ") == same_text("RIO DE JANEIRO")
    assert same_text("Cafe\u0301") == same_text("CAFÉ") != same_text("Cafe")
    assert same_letters("San José") == same_letters("san jose")
    assert same_text("San José") != same_text("San Jose")
