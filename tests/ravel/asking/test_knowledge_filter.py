"""What stays of the entities and templates that a model was asked about."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ravel.asking.knowledge import Answers
from ravel.asking.knowledge_filter import keep_above, keep_best, knowledge_of
from ravel.terms.schema import PARTITIONS, Completion, EntityFacts, Template


def answers_of(right: np.ndarray) -> Answers:
    """Make answers with partitions in turn and everything asked."""
    n_templates, n_entities = right.shape
    templates = tuple(Template(f"{i} %s", "AB"[i % 2], PARTITIONS[i % 3]) for i in range(n_templates))
    entities = tuple(EntityFacts(f"e{i}", PARTITIONS[i % 3], (("A", "x"),)) for i in range(n_entities))
    row = (Completion("x", (1,)),) * n_entities
    nowhere = np.zeros_like(right)
    return Answers(templates, entities, (row,) * n_templates, np.ones_like(right), right, nowhere)


rights = (
    st.integers(1, 9)
    .flatmap(lambda n: st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=n, max_size=n))
    .map(lambda rows: np.array(rows, dtype=np.bool_))
)


@given(rights, st.integers(1, 8))
@settings(deadline=None)
def test_the_best_of_each_partition_stay(right: np.ndarray, total: int) -> None:
    answers = answers_of(right)
    kept = keep_best(
        answers, entities=total, templates_per_attribute=2, templates_overall=200, templates_always=4, seed=0
    )
    counts = right.sum(axis=0)
    for partition in PARTITIONS:
        own = [i for i in range(7) if answers.entities[i].partition == partition]
        stay = [i for i in own if i in kept.entities]
        gone = [i for i in own if i not in kept.entities]
        assert all(counts[i] >= counts[j] for i in stay for j in gone)
        assert stay or not counts[own].any()
    assert all(counts[i] > 0 for i in kept.entities)


def test_templates_stay_by_rank_over_the_kept_entities() -> None:
    right = np.zeros((6, 6), dtype=np.bool_)
    right[0, :] = right[2, :3] = right[4, :] = True
    # Rows 0, 2, 4 ask for A in train, test, val; rows 1, 3, 5 for B have no right answer.
    kept = keep_best(
        answers_of(right),
        entities=6,
        templates_per_attribute=3,
        templates_overall=1,
        templates_always=0,
        seed=0,
    )
    assert kept.templates == (0, 2, 4)


@given(rights, st.sampled_from([0.3, 0.5, 0.75, 1.0]))
@settings(max_examples=60, deadline=None)
def test_whatever_stays_is_above_the_threshold_over_what_stays(right: np.ndarray, threshold: float) -> None:
    kept = keep_above(answers_of(right), threshold)
    block = right[np.ix_(kept.templates, kept.entities)]
    assert bool(kept.templates) == bool(kept.entities)
    if kept.templates:
        assert block.mean(axis=0).min() >= threshold
        assert block.mean(axis=1).min() >= threshold


def test_one_bad_template_costs_no_entity_its_place() -> None:
    right = np.ones((5, 7), dtype=np.bool_)
    right[2] = False
    assert keep_above(answers_of(right), 1.0).templates == (0, 1, 3, 4)
    assert keep_above(answers_of(right), 1.0).entities == tuple(range(7))


def test_accuracies_by_hand() -> None:
    right = np.array([[True, True, False], [False, False, True]])
    answers = answers_of(right)
    kept = keep_above(answers, 0.6)
    knowledge = knowledge_of(answers, kept)
    assert kept.templates == (0,)
    assert kept.entities == (0, 1)
    assert knowledge["attributes"]["A"]["candidates"] == {"asked": 3, "right": 2, "accuracy": 2 / 3}
    assert knowledge["attributes"]["A"]["kept"] == {"asked": 2, "right": 2, "accuracy": 1.0}
    assert knowledge["attributes"]["B"]["kept"] == {"asked": 0, "right": 0, "accuracy": None}
    assert [row["accuracy"] for row in knowledge["templates"]] == [2 / 3, pytest.approx(1 / 3)]


def test_ties_fall_to_the_lot_and_not_to_the_first() -> None:
    right = np.ones((3, 30), dtype=np.bool_)

    def kept(seed: int) -> tuple[int, ...]:
        chosen = keep_best(
            answers_of(right),
            entities=9,
            templates_per_attribute=3,
            templates_overall=3,
            templates_always=0,
            seed=seed,
        )
        return chosen.entities

    assert kept(0) == kept(0) != kept(1)
    assert max(kept(0)) > 9
