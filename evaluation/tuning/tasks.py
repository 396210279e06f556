"""Built-in questions: sums and differences, and a classification made of bundled facts."""

from __future__ import annotations

from evaluation.tuning.questions import Question, checked, question, split_by_lot
from ravel.facts.tables import read_bundled

TASKS = ("arithmetic", "classification")
_BELOW = 20
_STOP = "."
"""Ends every built-in answer: a model that was trained on sentences knows that a text may end after it."""


def built_in(task: str, held_out: float, seed: int) -> list[Question]:
    """Return the questions of a task in `TASKS`."""
    return arithmetic(held_out, seed) if task == "arithmetic" else classification()


def arithmetic(held_out: float, seed: int) -> list[Question]:
    """Return every sum and every difference, not below 0, of two whole numbers below 20, a share held out."""
    pairs = [
        (f"{a} {word} {b} equals", f"{result}{_STOP}")
        for a in range(_BELOW)
        for b in range(_BELOW)
        for word, result in (("plus", a + b), ("minus", a - b))
        if result >= 0
    ]
    return split_by_lot(pairs, held_out, seed, "the arithmetic task")


def classification(entity_type: str = "city", attribute: str = "Continent") -> list[Question]:
    """Return, for each bundled entity, the value after its own by the alphabet, the first after the last.

    Those of the training partition are trained on, those of the test partition are held out.
    Which entities belong together a model may know; what comes after what it has to learn.
    """
    tables = read_bundled(entity_type)
    value_of = {facts.entity: dict(facts.values)[attribute] for facts in tables.entities}
    values, words = sorted(set(value_of.values())), attribute.lower()
    after = dict(zip(values, [*values[1:], values[0]], strict=True))
    made = [
        question(
            f"{facts.entity} has the {words} that comes after",
            f"{after[value_of[facts.entity]]}{_STOP}",
            held_out=facts.partition == "test",
        )
        for facts in tables.entities
        if facts.partition in ("train", "test")
    ]
    return checked(made, "the classification task")
