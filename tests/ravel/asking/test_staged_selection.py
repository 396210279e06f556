"""Asked in stages: nothing that can't be kept any more, everything of what is left, and the same is kept."""

from __future__ import annotations

import numpy as np
import pytest
from answering_world import TOWN, TableAnswerer, town_tables

from ravel.asking.knowledge import Answers, Questioner, askable
from ravel.asking.knowledge_filter import keep_best
from ravel.asking.staged_selection import Staged, ask_in_stages
from ravel.facts.tables import Tables
from ravel.terms.schema import Prompt

ENTITIES, TEMPLATES = 40, 6


def knowing(tables: Tables, towns: float, templates: float, *, noise: float = 0.0) -> TableAnswerer:
    """Return a model that knows a share of the towns and gets a share of the templates, but for noise."""
    stream = np.random.default_rng(0)
    places = {facts.entity: i for i, facts in enumerate(tables.entities)}
    known = stream.random(len(places)) < towns
    understood = {t.text: stream.random() < templates for t in tables.templates}
    luck = {(t, e): stream.random() for t in understood for e in places}

    def say(prompt: Prompt, said: str) -> str:
        right = known[places[prompt.entity]] and understood[prompt.template]
        return said if right != (luck[prompt.template, prompt.entity] < noise) else " nothing of that."

    return TableAnswerer(tables, say)


def staged(tables: Tables, answerer: TableAnswerer, entities: int = ENTITIES) -> Staged:
    questioner = Questioner(TOWN, answerer, max_new_tokens=8, mode="strict")
    templates = tuple(t for t in tables.templates if t.attribute is not None)
    nothing = questioner.nothing_asked(templates, tables.entities)
    return ask_in_stages(questioner, nothing, entities=entities, templates_per_attribute=TEMPLATES)


def whole(tables: Tables, answerer: TableAnswerer) -> Answers:
    questioner = Questioner(TOWN, answerer, max_new_tokens=8, mode="strict")
    return questioner.ask([t for t in tables.templates if t.attribute is not None], tables.entities)


def kept(answers: Answers) -> tuple[set[int], set[int]]:
    found = keep_best(
        answers,
        entities=ENTITIES,
        templates_per_attribute=TEMPLATES,
        templates_overall=200,
        templates_always=4,
        seed=0,
    )
    return set(found.templates), set(found.entities)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_who_is_left_was_asked_everything_and_nothing_twice(noise: float) -> None:
    tables = town_tables(200, 24)
    answerer = knowing(tables, 0.4, 0.6, noise=noise)
    found = staged(tables, answerer)
    assert len(set(answerer.calls)) == len(answerer.calls) == found.answers.asked.sum()
    wanted = askable(found.answers.templates, found.answers.entities)
    block = np.ix_(found.rows, found.columns)
    assert (found.answers.asked <= wanted).all()
    assert (found.answers.asked[block] == wanted[block]).all()
    outside = np.ones_like(wanted)
    outside[block] = False
    assert not (found.finalists().right & outside).any()
    assert (found.finalists().right[block] == found.answers.right[block]).all()


def test_where_knowledge_is_clear_the_same_is_kept_for_less_than_half() -> None:
    tables = town_tables(400, 24)
    answerer = knowing(tables, 0.3, 0.4)
    found = staged(tables, answerer)
    everything = whole(tables, knowing(tables, 0.3, 0.4))
    assert kept(found.finalists()) == kept(everything)
    assert found.answers.asked.sum() < everything.asked.sum() / 2


def test_with_noise_most_of_it_is_the_same_and_as_well_known() -> None:
    tables = town_tables(400, 24)
    found = staged(tables, knowing(tables, 0.3, 0.4, noise=0.2))
    everything = whole(tables, knowing(tables, 0.3, 0.4, noise=0.2))
    accuracies = []
    for answers in (found.finalists(), everything):
        templates, entities = kept(answers)
        block = np.ix_(sorted(templates), sorted(entities))
        accuracies.append(everything.right[block].sum() / everything.asked[block].sum())
    assert accuracies[0] > accuracies[1] - 0.02
    assert found.answers.asked.sum() < 0.7 * everything.asked.sum()


def test_places_for_all_leave_everyone_in() -> None:
    tables = town_tables(40, 6)
    found = staged(tables, knowing(tables, 0.5, 0.5), entities=40)
    assert len(found.columns) == 40
    wanted = askable(found.answers.templates, found.answers.entities)
    assert (found.answers.asked[list(found.rows)] == wanted[list(found.rows)]).all()


def test_a_model_that_knows_nothing_keeps_nothing() -> None:
    tables = town_tables(80, 8)
    assert kept(staged(tables, knowing(tables, 0.0, 0.0)).finalists()) == (set(), set())
