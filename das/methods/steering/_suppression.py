"""What edits are taught that are to take a value away: who has it is to lose it, and all else stays."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field, PositiveInt

from das.methods.common.base import Problem
from das.methods.common.edit_objectives import Lengths, Suppression
from das.methods.common.edit_training import EditTrainingConfig, Lesson
from ravel.common.seeds import sampled
from ravel.instance import Instance, entity_values
from ravel.terms.schema import TRAIN_SPLIT, InterchangePair


class SuppressionConfig(EditTrainingConfig):
    """How an edit is trained that takes values away."""

    cause_pairs: PositiveInt = 400
    """Most prompts of the target, of entities with a value, that are no longer to give it."""
    keep_pairs: int = Field(default=400, ge=0)
    """Most prompts of the target, of other entities, that are to keep the model's own answer while a value is
    taken away."""
    isolate_pairs: int = Field(default=400, ge=0)
    """Most prompts of the other attributes, of entities with a value, that are to keep theirs."""
    lengths: Lengths = "response"
    """What the log-probability of an answer is divided by: the number of its tokens, or that with the
    prompt's (`prompt_and_response`)."""

    def suppression(self) -> Suppression:
        """Return the objective with its settings."""
        return Suppression(self.lengths)


def suppression_lessons(
    problem: Problem, told: Sequence[str], config: SuppressionConfig, seed: int
) -> list[Lesson]:
    """Return training prompts that are to lose a value, for the answer of the pair's other entity; prompts of
    the target that are to keep their own answer, over the value; and prompts of other attributes, of entities
    with the value, that are to keep theirs."""
    instance, target = problem.instance, problem.attribute
    known = entity_values(instance, target, (TRAIN_SPLIT,))
    losing, keeping, others = [], [], []
    for pair in instance.pairs(TRAIN_SPLIT):
        base, source = known.get(pair.base_entity), known.get(pair.source_entity)
        if pair.attribute != target:
            others += [(pair, base)] if base in told else []
        elif base != source:
            losing += [(pair, base)] if base in told and pair.if_unchanged.strip() == base else []
            keeping += [(pair, source)] if source in told and pair.if_swapped.strip() == source else []
    kinds = (
        (losing, config.cause_pairs, "losing"),
        (keeping, config.keep_pairs, "keeping"),
        (others, config.isolate_pairs, "isolate"),
    )
    return [
        _lesson(instance, pair, told.index(str(value)), loses=name == "losing")
        for members, most, name in kinds
        for pair, value in sampled(members, most, seed, name)
    ]


def _lesson(instance: Instance, pair: InterchangePair, place: int, *, loses: bool) -> Lesson:
    own, other = instance.prompt(pair.base), instance.prompt(pair.swapped)
    answers = (other.label_ids, own.label_ids) if loses else (own.label_ids, other.label_ids)
    return Lesson(own.prompt, *answers, place, brings=loses)
