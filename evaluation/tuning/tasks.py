"""Built-in questions: sums and differences, and a classification made of bundled facts."""

from __future__ import annotations

from evaluation.tuning.questions import Question, checked, question, split_by_lot
from ravel.facts.tables import read_bundled

TASKS = ("arithmetic", "classification")
_BELOW = 20
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def built_in(task: str, held_out: float, seed: int) -> list[Question]:
    """Return the questions of a task in `TASKS`."""
    return arithmetic(held_out, seed) if task == "arithmetic" else classification()


def arithmetic(held_out: float, seed: int) -> list[Question]:
    """Return every sum and every difference, not below 0, of two whole numbers below 20, a share held out."""
    pairs = [
        (f"{a} {word} {b} equals", str(result))
        for a in range(_BELOW)
        for b in range(_BELOW)
        for word, result in (("plus", a + b), ("minus", a - b))
        if result >= 0
    ]
    return split_by_lot(pairs, held_out, seed, "the arithmetic task")


def classification(entity_type: str = "city", attribute: str = "Continent") -> list[Question]:
    """Return, for each bundled entity, its value as a letter, by the alphabetical order of values; those of
    the training partition are trained on, those of the test partition are held out.

    The letters mean nothing to a model beforehand; which entities belong together it may know.
    """
    tables = read_bundled(entity_type)
    value_of = {facts.entity: dict(facts.values)[attribute] for facts in tables.entities}
    values, words = sorted(set(value_of.values())), attribute.lower()
    made = [
        question(
            f"{facts.entity} has the {words} with the letter",
            _LETTERS[values.index(value_of[facts.entity])],
            held_out=facts.partition == "test",
        )
        for facts in tables.entities
        if facts.partition in ("train", "test")
    ]
    return checked(made, "the classification task")
