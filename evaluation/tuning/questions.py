"""Prompts with their answers, from a user's file, and which of them are held out; no model is known here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ravel.common.errors import SuiteError
from ravel.common.io import canonical_json, read_jsonl, sha256_text
from ravel.common.seeds import python_stream

_SPLITS = ("train", "test")


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt and the answer that is right."""

    prompt: str
    """What the model reads, without blanks at its end."""
    answer: str
    """What it is to go on with, blanks in front included."""
    held_out: bool
    """True: for the test only."""


def question(prompt: str, answer: str, *, held_out: bool) -> Question:
    """Return a question whose parts can simply be joined: blanks at the end of the prompt move before the
    answer; where there are none, and the prompt does not end a line, one blank is put in."""
    asked = prompt.rstrip(" ")
    seam = "" if asked.endswith("\n") else " "
    return Question(asked, seam + answer.strip(), held_out)


def read_questions(path: Path, held_out: float, seed: int) -> list[Question]:
    """Read JSON Lines of `prompt` and `answer`, and perhaps `split`, `train` or `test`; other keys are passed
    over. Without splits a share of the prompts is held out by lot, each with all its answers.

    Raises SuiteError naming the line without one of them, and where nothing is left to train on or to test.
    """
    rows = [_row(row, f"{path}, line {line}") for line, row in read_jsonl(path)]
    stated = sum(split is not None for _, _, split in rows)
    if stated not in (0, len(rows)):
        raise SuiteError(
            expected=f"a split in every line of {path}, or in none",
            came=f"one in {stated} of {len(rows)}",
            todo="say train or test everywhere, or leave it out and hold a share out with --held-out",
        )
    if stated:
        return checked([question(p, a, held_out=split == "test") for p, a, split in rows], str(path))
    return split_by_lot([(prompt, answer) for prompt, answer, _ in rows], held_out, seed, str(path))


def split_by_lot(pairs: Sequence[tuple[str, str]], held_out: float, seed: int, origin: str) -> list[Question]:
    """Return pairs of prompt and answer as questions, a share of the prompts held out by lot. Raises
    SuiteError as `read_questions`."""
    prompts = list(dict.fromkeys(prompt.rstrip(" ") for prompt, _ in pairs))
    count = min(max(1, round(held_out * len(prompts))), max(1, len(prompts) - 1))
    chosen = set(python_stream(seed, "held out").sample(prompts, min(count, len(prompts))))
    made = [question(prompt, answer, held_out=prompt.rstrip(" ") in chosen) for prompt, answer in pairs]
    return checked(made, origin)


def checked(questions: list[Question], origin: str) -> list[Question]:
    """Return the questions. Raises SuiteError where none is to be trained on, or none held out, or a prompt
    is both."""
    sides = {side: {q.prompt for q in questions if q.held_out is side} for side in (False, True)}
    if not sides[False] or not sides[True]:
        raise SuiteError(
            expected=f"prompts to train on and held-out ones in {origin}",
            came=f"{len(sides[False])} and {len(sides[True])}",
            todo="give at least two different prompts",
        )
    both = sorted(sides[False] & sides[True])
    if both:
        raise SuiteError(
            expected=f"held-out prompts in {origin} that are not trained on",
            came=f"{len(both)} that are both, among them {both[0][:60]!r}",
            todo="give each prompt one split",
        )
    return questions


def hash_of(questions: Iterable[Question]) -> str:
    """Return a hash of all questions, their order and their splits."""
    return sha256_text(canonical_json([[q.prompt, q.answer, q.held_out] for q in questions]))


def _row(row: dict[str, Any], where: str) -> tuple[str, str, str | None]:
    for name in ("prompt", "answer"):
        value = row.get(name)
        if not isinstance(value, str) or not value.strip():
            raise SuiteError(
                expected=f"a text {name!r} in {where}",
                came="none" if name not in row else repr(value)[:60],
                todo='write lines such as {"prompt": "2 plus 3 equals", "answer": "5"}',
            )
    split = row.get("split")
    if split is not None and split not in _SPLITS:
        raise SuiteError(
            expected=f"a split of train or test in {where}", came=repr(split)[:60], todo="correct that line"
        )
    return row["prompt"], row["answer"], split
