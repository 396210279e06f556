"""Asking and filtering: what is asked, what counts as known, what stays."""

from __future__ import annotations

import numpy as np
import pytest
from answering_world import TOWN, TableAnswerer, town_tables
from hypothesis import given, settings
from hypothesis import strategies as st

from ravel.asking.answerer import complete_in_chunks
from ravel.asking.knowledge import Answers, Kept, Questioner, Stop
from ravel.asking.knowledge_filter import keep_above, keep_best, knowledge_of
from ravel.asking.labels import extract_label
from ravel.asking.prompts import fill
from ravel.terms.partitions import SPLIT_PLANS, asked_together, share_out
from ravel.terms.schema import PARTITIONS, Completion, EntityFacts, Prompt, Template, evaluation_splits


def quiet(stage: str, done: int, total: int) -> None:
    """Report nothing."""


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


def test_the_plans_are_the_splits_of_the_schema() -> None:
    assert [plan.name for plan in SPLIT_PLANS] == ["train", *evaluation_splits()]
    assert not asked_together("val", "test")
    assert not asked_together("test", "val")


@given(st.integers(0, 60), st.lists(st.integers(0, 40), min_size=3, max_size=3))
@settings(deadline=None)
def test_places_are_shared_in_proportion(total: int, sizes: list[int]) -> None:
    by_partition = dict(zip(PARTITIONS, sizes, strict=True))
    shares = share_out(total, by_partition)
    members = sum(size > 0 for size in sizes)
    assert sum(shares.values()) == max(min(total, sum(sizes)), members)
    for name, size in by_partition.items():
        assert min(size, 1) <= shares[name] <= size
        if total >= 3 * members and size:
            assert abs(shares[name] - size * min(total, sum(sizes)) / sum(sizes)) <= 2


def test_halves_and_quarters_are_kept() -> None:
    assert share_out(12, {"train": 20, "val": 10, "test": 10}) == {"train": 6, "val": 3, "test": 3}


def test_each_entity_is_asked_what_some_split_needs_and_where_a_value_is_known() -> None:
    tables = town_tables()
    blank = EntityFacts("Blank", "train", (("Colour", " "),))
    templates = tables.templates_for("Colour")
    answerer = TableAnswerer(tables)
    entities = (*tables.entities, blank)
    answers = Questioner(TOWN, answerer, max_new_tokens=8, mode="strict").ask(templates, entities)
    for row, template in enumerate(templates):
        for column, facts in enumerate(entities):
            expected = facts is not blank and asked_together(template.partition, facts.partition)
            assert answers.asked[row, column] == expected
            assert (answers.completions[row][column] is not None) == expected
    assert (answers.right == answers.asked).all()
    assert len(answerer.calls) == answers.asked.sum()


def test_progress_ends_at_the_number_of_prompts() -> None:
    tables, seen = town_tables(), []

    def note(stage: str, done: int, total: int) -> None:
        seen.append((stage, done, total))

    asking = tables.templates_for("Colour")
    answerer = TableAnswerer(tables)
    Questioner(TOWN, answerer, max_new_tokens=8, mode="strict", progress=note).ask(asking, tables.entities)
    assert seen[0] == ("answers", 0, len(answerer.calls))
    assert seen[-1] == ("answers", len(answerer.calls), len(answerer.calls))


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_every_prompt_is_answered_whatever_the_chunk(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ravel.asking.answerer._CHUNK", chunk)
    tables = town_tables()
    answerer = TableAnswerer(tables)
    prompts = [fill(tables.templates[0], facts.entity) for facts in tables.entities]
    answers = complete_in_chunks(
        iter(prompts), len(prompts), answerer, max_new_tokens=8, progress=quiet, stage="answers"
    )
    assert list(answers) == answerer.complete(prompts, 8)


def test_a_wrong_answer_is_not_right() -> None:
    tables = town_tables()

    def say(prompt: Prompt, said: str) -> str:
        return " purple." if prompt.entity == tables.entities[0].entity else said

    answers = Questioner(TOWN, TableAnswerer(tables, say), max_new_tokens=8, mode="strict").ask(
        tables.templates_for("Colour"), tables.entities
    )
    assert answers.right.sum(axis=0)[0] == 0
    assert answers.right.sum() == answers.asked.sum() - answers.asked[:, 0].sum()


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


def asked(stop: Stop, answerer: TableAnswerer) -> Answers:
    """Ask everything of the made-up towns."""
    tables = town_tables()
    templates = (*tables.templates_for("Colour"), *tables.templates_for("Height"))
    return Questioner(TOWN, answerer, max_new_tokens=8, mode="strict").ask(
        templates, tables.entities, stop=stop
    )


def wrong_at_times(prompt: Prompt, said: str) -> str:
    """Say something else to every third entity."""
    return " purple. So it is" if len(prompt.entity) and sum(map(ord, prompt.entity)) % 3 == 0 else said


def size(answers: Answers) -> int:
    """Count the tokens of all answers."""
    return sum(len(answer.token_ids) for row in answers.completions for answer in row if answer)


def numeric(template: Template) -> bool:
    return template.attribute == "Height"


def test_stopping_early_changes_no_verdict_and_saves_tokens() -> None:
    tables = town_tables()
    whole, labelled, judged = (
        asked(stop, TableAnswerer(tables, wrong_at_times)) for stop in ("never", "labelled", "judged")
    )
    assert (labelled.right == whole.right).all()
    assert (judged.right == whole.right).all()
    assert 0 < whole.right.sum() < whole.asked.sum()
    assert size(judged) < size(labelled) < size(whole)
    assert judged.cut.any()
    assert not whole.cut.any()
    assert not labelled.cut.any()


def test_an_answer_that_stopped_when_labelled_has_the_label_of_the_whole() -> None:
    tables = town_tables()
    whole = asked("never", TableAnswerer(tables))
    labelled = asked("labelled", TableAnswerer(tables))
    for template, ours, theirs in zip(whole.templates, labelled.completions, whole.completions, strict=True):
        for short, long in zip(ours, theirs, strict=True):
            assert (short is None) == (long is None)
            if short is not None and long is not None:
                assert long.token_ids[: len(short.token_ids)] == short.token_ids
                of_both = [extract_label(said.text, numeric=numeric(template)) for said in (short, long)]
                assert of_both[0] == of_both[1] != ""


def test_only_kept_answers_that_were_cut_are_asked_again() -> None:
    tables = town_tables()
    answerer = TableAnswerer(tables, wrong_at_times)
    judged = asked("judged", answerer)
    before = len(answerer.calls)
    kept = Kept((0, 3), (1, 4, 6))
    done = Questioner(TOWN, answerer, max_new_tokens=8, mode="strict").finish(judged, kept)
    block = np.ix_(kept.templates, kept.entities)
    assert len(answerer.calls) - before == judged.cut[block].sum() > 0
    assert not done.cut[block].any()
    assert done.cut.sum() == judged.cut.sum() - judged.cut[block].sum()
    assert (done.right == judged.right).all()
    whole = asked("labelled", TableAnswerer(tables, wrong_at_times))
    for row in range(len(done.templates)):
        for column in range(len(done.entities)):
            inside = row in kept.templates and column in kept.entities and judged.cut[row, column]
            expected = whole if inside else judged
            assert done.completions[row][column] == expected.completions[row][column]


def test_an_answerer_that_stops_nowhere_leaves_nothing_to_finish() -> None:
    answers = asked("judged", TableAnswerer(town_tables(), deaf=True))
    assert not answers.cut.any()
    assert size(answers) == size(asked("never", TableAnswerer(town_tables())))
