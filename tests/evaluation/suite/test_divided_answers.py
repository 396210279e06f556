"""Answers by several processes are those of one, to the token, whatever becomes of the others."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import evaluation.suite.execution.divided_answers as divided_answers
from das.engine import EngineAnswerer
from evaluation.config.target import TargetConfig
from evaluation.suite.execution.divided_answers import DividedAnswerer, dividing
from ravel.asking.answerer import sent_rule
from ravel.asking.knowledge import Answers, Kept, Questioner
from ravel.asking.prompts import fill
from ravel.facts.tables import read_bundled
from ravel.terms.schema import Completion, Prompt

QUESTIONS = 8
"""Templates, each about so many times ten entities."""


@pytest.fixture(scope="module")
def alone() -> EngineAnswerer:
    return EngineAnswerer(TargetConfig().open())


@pytest.fixture(scope="module")
def divided(alone: EngineAnswerer) -> Iterator[DividedAnswerer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(divided_answers, "available_processors", lambda: 2)
        with dividing(alone, 1_000_000) as answerer:
            assert isinstance(answerer, DividedAnswerer)
            wait_for(answerer)
            yield answerer


def wait_for(answerer: DividedAnswerer) -> None:
    end = time.monotonic() + 120
    while not all(helper.is_open() for helper in answerer.helpers):
        assert time.monotonic() < end, "the helper did not open the model"
        time.sleep(0.05)


class Counting:
    """An answerer that counts what it is asked."""

    def __init__(self, answerer: EngineAnswerer) -> None:
        self.answerer = answerer
        self.asked = 0

    def complete(self, prompts: Sequence[Prompt], *rest: Any) -> list[Completion]:
        self.asked += len(prompts)
        return self.answerer.complete(prompts, *rest)

    def go_on(self, prompts: Sequence[Prompt], *rest: Any) -> list[Completion]:
        self.asked += len(prompts)
        return self.answerer.go_on(prompts, *rest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.answerer, name)


def knowledge(answerer: EngineAnswerer) -> Answers:
    """Ask, judge, and go on with what was cut, as a build does."""
    tables = read_bundled("city")
    templates = [t for t in tables.templates if t.attribute and t.partition == "train"][::7][:QUESTIONS]
    entities = [facts for facts in tables.entities if facts.partition == "train"][: 10 * QUESTIONS]
    questioner = Questioner(tables.entity_type, answerer, max_new_tokens=6, mode="strict")
    asked = questioner.ask(templates, entities, stop="judged")
    return questioner.finish(asked, Kept(tuple(range(len(templates))), tuple(range(0, len(entities), 2))))


def equal(some: Answers, others: Answers) -> bool:
    arrays = ((some.right, others.right), (some.cut, others.cut), (some.asked, others.asked))
    return some.completions == others.completions and all((one == two).all() for one, two in arrays)


def test_a_build_hears_the_same(alone: EngineAnswerer, divided: DividedAnswerer) -> None:
    counting = Counting(alone)
    own = DividedAnswerer(counting, divided.helpers)  # type: ignore[arg-type]
    expected, found = knowledge(alone), knowledge(own)
    assert equal(expected, found)
    assert expected.cut.any(), "no answer was cut, so that no rule was put to the test"
    asked = int(expected.asked.sum())
    assert 0 < counting.asked < 0.75 * asked, "this process did not leave its share to the other"


def test_a_rule_that_cannot_be_sent_is_asked_here(alone: EngineAnswerer, divided: DividedAnswerer) -> None:
    tables = read_bundled("city")
    prompts = [fill(tables.templates[0], facts.entity) for facts in tables.entities[:100]]
    places: list[int] = []

    def decided(place: int, token_ids: tuple[int, ...]) -> bool:
        places.append(place)
        return len(token_ids) > place % 3

    assert sent_rule(decided, 0, 1) is None
    expected = alone.complete(prompts, 4, decided)
    places.clear()
    assert divided.complete(prompts, 4, decided) == expected
    assert set(places) == set(range(100))


def test_what_a_dead_helper_was_asked_is_answered_here(alone: EngineAnswerer) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(divided_answers, "available_processors", lambda: 2)
        with dividing(alone, 1_000_000) as answerer:
            assert isinstance(answerer, DividedAnswerer)
            wait_for(answerer)
            helper = answerer.helpers[0]
            ask = helper.ask

            def ask_and_kill(question: Any) -> None:
                ask(question)
                helper.kill()

            patch.setattr(helper, "ask", ask_and_kill)
            assert equal(knowledge(answerer), knowledge(alone))
            assert not helper.is_open()


@pytest.mark.parametrize("why", ["few questions", "one processor"])
def test_nothing_is_started_where_it_is_not_worth_it(
    alone: EngineAnswerer, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(divided_answers, "available_processors", lambda: 1 if why == "one processor" else 2)
    with dividing(alone, 100 if why == "few questions" else 1_000_000) as answerer:
        assert answerer is alone


SCRIPT = """
import sys, time
with open({log!r}, "a") as log:
    log.write("begun\\n")
import evaluation.suite.execution.divided_answers as divided_answers
from das.engine import EngineAnswerer
from evaluation.config.target import TargetConfig
divided_answers.available_processors = lambda: 2
with divided_answers.dividing(EngineAnswerer(TargetConfig().open()), 1_000_000) as answerer:
    while not answerer.helpers[0].is_open():
        assert answerer.helpers[0]._process.is_alive()
        time.sleep(0.05)
    print("open")
"""


def test_a_script_is_not_run_again(tmp_path: Path) -> None:
    script, log = tmp_path / "script.py", tmp_path / "log"
    script.write_text(SCRIPT.format(log=str(log)))
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=240, check=False)
    assert (ended.stdout, ended.returncode) == ("open\n", 0), ended.stderr
    assert log.read_text() == "begun\n"
