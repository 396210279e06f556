"""Asking: what is asked, what counts as known, when an answer may stop."""

from __future__ import annotations

import numpy as np
import pytest
from answering_world import TOWN, TableAnswerer, town_tables

from ravel.asking.answerer import complete_in_chunks
from ravel.asking.knowledge import Answers, Kept, Questioner, Stop
from ravel.asking.labels import extract_label
from ravel.asking.prompts import fill
from ravel.common.progress import Counted, Event
from ravel.terms.partitions import asked_together
from ravel.terms.schema import EntityFacts, Prompt, Template


def quiet(event: Event) -> None:
    """Report nothing."""


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
    tables, seen = town_tables(), list[Event]()
    asking = tables.templates_for("Colour")
    answerer = TableAnswerer(tables)
    Questioner(TOWN, answerer, max_new_tokens=8, mode="strict", progress=seen.append).ask(
        asking, tables.entities
    )
    assert seen[0] == Counted("answers", 0, len(answerer.calls))
    assert seen[-1] == Counted("answers", len(answerer.calls), len(answerer.calls))


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


class NeverResuming:
    """An answerer of an earlier time: it can't go on from tokens that it gave."""

    def __init__(self, answerer: TableAnswerer) -> None:
        self.name, self.fingerprint, self.instrument = "earlier", "e" * 64, answerer.instrument
        self.complete, self.decode, self.offsets = answerer.complete, answerer.decode, answerer.offsets


@pytest.mark.parametrize("resumes", [True, False])
def test_only_kept_answers_that_were_cut_are_gone_on_with(resumes: bool) -> None:
    tables = town_tables()
    answerer = TableAnswerer(tables, wrong_at_times)
    judged = asked("judged", answerer)
    before = len(answerer.calls)
    kept = Kept((0, 3), (1, 4, 6))
    asks = answerer if resumes else NeverResuming(answerer)
    done = Questioner(TOWN, asks, max_new_tokens=8, mode="strict").finish(judged, kept)
    block = np.ix_(kept.templates, kept.entities)
    again, went_on = len(answerer.calls) - before, len(answerer.went_on)
    assert (went_on, again)[:: 1 if resumes else -1] == (judged.cut[block].sum(), 0)
    assert went_on + again > 0
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
