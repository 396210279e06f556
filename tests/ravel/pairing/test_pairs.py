"""Drawing pairs: filtered first, none twice, spread over templates and bases, labels about equally often."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ravel.asking.prompts import fill
from ravel.instance import PromptRecord
from ravel.pairing.pairs import DrawRules, Question, draw_pairs, interleave
from ravel.terms.schema import SOURCE_KINDS, InterchangePair, SourceKind, Template

THIRDS: dict[SourceKind, float] = dict.fromkeys(SOURCE_KINDS, 1.0)


def question(number: int, labels: list[str]) -> Question:
    """One template whose entity i answers labels[i]; a label's tokens are its letters."""
    template = Template(f"T{number} %s:", "A", "train")
    records = tuple(
        PromptRecord(f"q{number}e{i}", fill(template, f"e{i}"), label, tuple(map(ord, label)), True)
        for i, label in enumerate(labels)
    )
    return Question(template.text, records)


def sources_of(n_entities: int, per_kind: dict[SourceKind, int]) -> dict[SourceKind, dict[str, list[str]]]:
    """Give every entity that many source prompts of each kind."""
    return {
        kind: {f"e{i}": [f"{kind}{j}e{i}" for j in range(count)] for i in range(n_entities) if count}
        for kind, count in per_kind.items()
    }


def draw(
    questions: list[Question],
    total: int,
    *,
    per_kind: int | dict[SourceKind, int] = 2,
    shares: dict[SourceKind, float] = THIRDS,
    seed: int = 0,
    label_tokens: int = 3,
) -> list[InterchangePair]:
    """Draw for attribute A in the training split."""
    counts = per_kind if isinstance(per_kind, dict) else dict.fromkeys(SOURCE_KINDS, per_kind)
    sources = sources_of(len(questions[0].records), counts)
    rules = DrawRules(total, shares, 10.0, label_tokens)
    return draw_pairs(questions, sources, rules, seed=seed, split="train", attribute="A")


letters = st.lists(st.sampled_from(["a", "ab", "b", "cde", "cdf", "cdef"]), min_size=1, max_size=7)


@given(letters, st.integers(1, 60), st.integers(0, 3), st.integers(0, 5))
@settings(max_examples=80, deadline=None)
def test_every_pair_is_a_candidate_and_none_comes_twice(
    labels: list[str], total: int, per_kind: int, seed: int
) -> None:
    asked = question(0, labels)
    pairs = draw([asked], total, per_kind=per_kind, seed=seed)
    by_id = {record.prompt_id: record for record in asked.records}
    for pair in pairs:
        base, swapped = by_id[pair.base], by_id[pair.swapped]
        assert pair.base_entity == base.prompt.entity != pair.source_entity == swapped.prompt.entity
        assert (pair.if_unchanged, pair.if_swapped) == (base.label, swapped.label)
        assert any(a != b for a, b in zip(base.label[:3], swapped.label[:3], strict=False))
        assert pair.source.startswith(pair.source_kind)
        assert pair.source.endswith(pair.source_entity)
    assert len({(pair.base, pair.source) for pair in pairs}) == len(pairs)
    differing = sum(any(x != y for x, y in zip(a[:3], b[:3], strict=False)) for a in labels for b in labels)
    assert len(pairs) == min(total, differing * per_kind * len(SOURCE_KINDS))


def test_templates_kinds_and_bases_get_equal_numbers() -> None:
    questions = [question(number, ["a", "b"] * 10) for number in range(4)]
    pairs = draw(questions, 240)
    assert set(Counter(pair.base_template for pair in pairs).values()) == {60}
    assert set(Counter((p.base_template, p.source_kind) for p in pairs).values()) == {20}
    assert set(Counter((p.base_template, p.base) for p in pairs).values()) == {3}


def test_shares_are_followed_and_a_share_of_nothing_draws_nothing() -> None:
    shares: dict[SourceKind, float] = {"same_attribute": 3.0, "other_attribute": 1.0, "attribute_free": 0.0}
    pairs = draw([question(0, ["a", "b"] * 10)], 100, shares=shares)
    assert Counter(pair.source_kind for pair in pairs) == {"same_attribute": 75, "other_attribute": 25}


def test_what_a_kind_lacks_the_others_give() -> None:
    lacking: dict[SourceKind, int] = {"same_attribute": 2, "other_attribute": 2, "attribute_free": 0}
    pairs = draw([question(0, ["a", "b"] * 10)], 100, per_kind=lacking)
    assert Counter(pair.source_kind for pair in pairs) == {"same_attribute": 50, "other_attribute": 50}


def test_what_a_template_lacks_the_others_give() -> None:
    few = question(0, ["a", "b"] + ["a"] * 18)
    few = Question(few.template, few.records[:2])
    pairs = draw([few, question(1, ["a", "b"] * 10)], 100)
    assert len(pairs) == 100
    assert Counter(pair.base_template for pair in pairs)[few.template] == 12


def test_a_rare_label_comes_as_often_as_the_smoothing_says() -> None:
    # 90 entities say a, 10 say b, 10 say c: drawn with weights 90/100, 10/20 and 10/20.
    pairs = draw([question(0, ["a"] * 90 + ["b"] * 10 + ["c"] * 10)], 3000, per_kind=4)
    said = Counter(pair.if_swapped for pair in pairs if pair.if_unchanged == "b")
    assert said["a"] / said["c"] == pytest.approx(0.9 / 0.5, rel=0.35)
    said = Counter(pair.if_swapped for pair in pairs if pair.if_unchanged == "a")
    assert said["b"] / said["c"] == pytest.approx(1.0, rel=0.15)


def test_a_seed_gives_the_same_pairs_and_another_seed_others() -> None:
    questions = [question(number, list("abcabcab")) for number in range(3)]
    assert draw(questions, 50, seed=1) == draw(questions, 50, seed=1)
    assert draw(questions, 50, seed=1) != draw(questions, 50, seed=2)


def test_labels_must_differ_where_they_are_forced() -> None:
    assert draw([question(0, ["abcx", "abcy"])], 9) == []
    assert len(draw([question(0, ["abcx", "abcy"])], 9, label_tokens=4)) == 9


def test_interleaving_takes_turns_and_numbers() -> None:
    first = draw([question(0, list("ab"))], 3)
    second = draw([question(1, list("ab"))], 1)
    merged = interleave([first, second, []], split="train")
    assert [pair.base_template[:2] for pair in merged] == ["T0", "T1", "T0", "T0"]
    assert [pair.pair_id for pair in merged] == [f"train-{i:06d}" for i in range(4)]
