"""What is kept by answers drawn by chance: counted by hand, from chances of each text's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from answering_world import TOWN, TableAnswerer, town_tables
from numpy.typing import NDArray
from pydantic import ValidationError

from ravel.asking.answerer import Decided
from ravel.asking.kept_answers import KeptAnswers
from ravel.asking.knowledge import Answers, Questioner
from ravel.asking.knowledge_filter import keep_above, keep_best
from ravel.building import BuildConfig, build_instance
from ravel.common.errors import SuiteError
from ravel.common.progress import silent
from ravel.terms.schema import Completion, Prompt


class WaveringAnswerer(TableAnswerer):
    """Its samples are right where the first chance is below what it knows of an entity."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.drawn: list[tuple[str, int]] = []

    def sure(self, entity: str) -> float:
        return (sum(map(ord, entity)) % 11) / 10

    def sample(
        self,
        prompts: Sequence[Prompt],
        chances: NDArray[np.float64],
        temperature: float,
        decided: Decided | None = None,
    ) -> list[list[Completion]]:
        self.drawn += [(prompt.text, len(rows)) for prompt, rows in zip(prompts, chances, strict=True)]
        right = self.complete(prompts, chances.shape[2])
        wrong = Completion(self.decode(()), ())
        return [
            [answer if row[0] < self.sure(prompt.entity) else wrong for row in rows]
            for prompt, answer, rows in zip(prompts, right, chances, strict=True)
        ]


def _answers(samples: int, chunk: int = 1024) -> tuple[Answers, WaveringAnswerer]:
    tables = town_tables()
    answerer = WaveringAnswerer(tables)
    answerer.per_call = chunk  # type: ignore[attr-defined]
    questioner = Questioner(TOWN, answerer, max_new_tokens=8, mode="strict")
    asked = questioner.ask(tables.templates_for("Colour"), tables.entities)
    return questioner.sample(asked, samples, temperature=1.0, seed=3), answerer


def test_right_samples_are_counted_wherever_something_was_asked() -> None:
    answers, answerer = _answers(40)
    assert answers.right_samples is not None
    assert (answers.right_samples[~answers.asked] == 0).all()
    assert {count for _, count in answerer.drawn} == {40}
    for column, facts in enumerate(answers.entities):
        shares = answers.right_samples[:, column][answers.asked[:, column]] / 40
        assert shares == pytest.approx(answerer.sure(facts.entity), abs=0.3)
        assert shares.mean() == pytest.approx(answerer.sure(facts.entity), abs=0.15)


def test_chances_are_a_text_s_own_whatever_the_chunk() -> None:
    one, other = (_answers(5, chunk)[0] for chunk in (1, 1024))
    assert one.right_samples is not None
    assert other.right_samples is not None
    assert np.array_equal(one.right_samples, other.right_samples)


def test_what_is_kept_goes_by_samples_where_there_are_some() -> None:
    answers, answerer = _answers(60)
    settings = {"templates_per_attribute": 9, "templates_overall": 99, "templates_always": 9, "seed": 0}
    kept = keep_best(answers, entities=8, **settings)
    sure = [answerer.sure(answers.entities[column].entity) for column in kept.entities]
    assert min(sure) >= 0.5
    above = keep_above(answers, 0.85)
    assert {answerer.sure(answers.entities[column].entity) for column in above.entities} <= {0.8, 0.9, 1.0}
    assert above.entities
    # Without samples every answer is right, and everything is above.
    plain = replace(answers, samples=0, right_samples=None)
    assert len(keep_above(plain, 0.85).entities) == len(answers.entities)


def test_a_tally_by_hand() -> None:
    answers, _ = _answers(4)
    asked, right = answers.tally()
    assert np.array_equal(asked, answers.asked * 4)
    assert right is answers.right_samples
    some = answers.of_entities([3, 1])
    assert np.array_equal(some.tally()[1], right[:, [3, 1]])
    asked, right = replace(answers, samples=0, right_samples=None).tally()
    assert np.array_equal(asked, answers.asked.astype(int))
    assert np.array_equal(right, answers.right.astype(int))


def test_a_build_writes_down_how_it_sampled() -> None:
    tables = town_tables()
    config = BuildConfig(samples=7, sample_temperature=0.7, seed=2, keep_entities=16, train_pairs=40)
    instance = build_instance(tables, WaveringAnswerer(tables), config)
    assert instance.manifest.config["samples"] == 7
    how = {"count": 7, "temperature": 0.7, "seed": 2}
    assert instance.manifest.knowledge["samples"] == how
    known = instance.manifest.knowledge["attributes"]["Colour"]
    assert 0 < known["candidates"]["sampled_accuracy"] < known["kept"]["sampled_accuracy"] < 1
    again = build_instance(tables, WaveringAnswerer(tables), config)
    assert again.fingerprint == instance.fingerprint
    plain = build_instance(tables, TableAnswerer(tables), BuildConfig(keep_entities=16, train_pairs=40))
    assert "samples" not in plain.manifest.config
    assert "sampled_accuracy" not in plain.manifest.knowledge["attributes"]["Colour"]["kept"]


def test_kept_answers_sample_with_the_model_they_keep(tmp_path: Path) -> None:
    tables = town_tables()
    kept = KeptAnswers(WaveringAnswerer(tables), tmp_path, "key", silent)
    prompt = Prompt("Colour no 0: x is", "Colour no 0: %s is", tables.entities[0].entity, "Colour", (13, 14))
    assert len(kept.sample([prompt], np.zeros((1, 3, 8)), 1.0)[0]) == 3
    with pytest.raises(SuiteError, match="can be sampled from"):
        KeptAnswers(TableAnswerer(tables), tmp_path, "key", silent).sample([prompt], np.zeros((1, 3, 8)), 1.0)


def test_staged_asks_too_little_to_be_sampled() -> None:
    with pytest.raises(ValidationError, match="staged"):
        BuildConfig(samples=3, selection="staged")
