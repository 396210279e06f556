"""Questions of a user's file: joined, split and refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from das.reft.settings import KINDS, ReftConfig
from evaluation.commands.flags.reft import KIND_NAMES
from evaluation.tuning.questions import Question, hash_of, question, read_questions
from evaluation.tuning.tasks import arithmetic, classification
from ravel.common.errors import SuiteError


def written(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_prompt_and_answer_are_joined_by_one_blank() -> None:
    for prompt, answer, whole in (
        ("2 plus 3 equals", "5", "2 plus 3 equals 5"),
        ("2 plus 3 equals  ", " 5 ", "2 plus 3 equals 5"),
        ("Q: a\nA:\n", "b", "Q: a\nA:\nb"),
    ):
        made = question(prompt, answer, held_out=False)
        assert made.prompt + made.answer == whole
        assert not made.prompt.endswith(" ")


def test_a_prompt_is_on_one_side_only_and_the_lot_is_fixed(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"prompt": f"p{i // 2}", "answer": str(i), "note": "passed over"} for i in range(40)
    ]
    path = written(tmp_path / "d.jsonl", rows)
    found = read_questions(path, 0.25, 0)
    held = {one.prompt for one in found if one.held_out}
    assert len(held) == 5
    assert held.isdisjoint({one.prompt for one in found if not one.held_out})
    assert hash_of(found) == hash_of(read_questions(path, 0.25, 0))
    assert hash_of(found) != hash_of(read_questions(path, 0.25, 1))


def test_stated_splits_count(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"prompt": "a", "answer": "1", "split": "train"},
        {"prompt": "b", "answer": "2", "split": "test"},
    ]
    assert read_questions(written(tmp_path / "d.jsonl", rows), 0.5, 0) == [
        Question("a", " 1", False),
        Question("b", " 2", True),
    ]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"prompt": "a"}], "'answer' in .*line 1"),
        ([{"prompt": "a", "answer": 3}], "'answer'"),
        ([{"prompt": " ", "answer": "3"}], "'prompt'"),
        ([{"prompt": "a", "answer": "1", "split": "val"}], "train or test"),
        ([{"prompt": "a", "answer": "1", "split": "test"}, {"prompt": "b", "answer": "1"}], "every line"),
        ([{"prompt": "a", "answer": "1"}], "held-out"),
        ([], "held-out"),
        (
            [
                {"prompt": "a", "answer": "1", "split": "test"},
                {"prompt": "a", "answer": "2", "split": "train"},
            ],
            "are both",
        ),
    ],
)
def test_what_does_not_fit_is_named(rows: list[dict[str, object]], said: str, tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=said):
        read_questions(written(tmp_path / "d.jsonl", rows), 0.2, 0)


def test_the_built_in_sets_are_right() -> None:
    sums = arithmetic(0.2, 0)
    # 400 sums, and the 210 differences that are not below 0.
    assert len(sums) == 610
    assert [one.answer for one in sums if one.prompt == "12 plus 7 equals"] == [" 19."]
    facts = classification()
    assert len({one.answer for one in facts}) == 6
    after = {one.prompt.removesuffix(" has the continent that comes after"): one.answer for one in facts}
    assert (after["Nairobi"], after["Montevideo"]) == (" Asia.", " Africa.")


def test_flags_name_what_there_is_and_settings_survive_a_file() -> None:
    assert KIND_NAMES == KINDS
    config = ReftConfig(kind="lora", layers=(0, 3), modules=("q_proj",), steps=4, clip=1.0)
    assert ReftConfig.from_yaml(config.to_yaml()) == config
    with pytest.raises(SuiteError, match="did you mean 'rank'"):
        ReftConfig.from_yaml("rnak: 3")
