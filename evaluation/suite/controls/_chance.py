"""What can be scored by chance, computed from answers alone, without a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evaluation.judging.tolerance import ToleranceRule, tolerance_rules
from evaluation.records.scores import Outcome
from evaluation.scoring.interchange.metrics import cause
from evaluation.suite.controls._derived import Answers
from evaluation.suite.controls.base import ReferenceInputs
from ravel.common.seeds import grouped
from ravel.instance import PromptRecord
from ravel.terms.schema import TRAIN_SPLIT, InterchangePair

CHANCE = "how often the source's true answer, or the usual one of training pairs, is the expected one"
"""What `by_chance` returns, as a clause."""
_TRAINING_PAIRS = 256
"""Training pairs of an attribute on which constant answers are tried."""
_Said = Callable[[InterchangePair], PromptRecord | None]


def by_chance(inputs: ReferenceInputs) -> list[Outcome]:
    """Return an outcome per pair of `inputs.judged`: who knows nothing of the expected answer, but may read
    the source perfectly or always say one thing.

    For each attribute it is what scores the higher cause: the true answer of the source's entity, or one
    answer to all pairs, the one that is best on training pairs. Answers are compared as they are judged: by
    their first tokens, or by the attribute's matcher where that has a tolerance. An entity of which no answer
    is known agrees with nothing.
    """
    answers = Answers.of(inputs.instance)
    compare = _Comparison.of(inputs)

    def reader(pair: InterchangePair) -> PromptRecord | None:
        return answers.of_entity(pair.attribute, pair.source_entity, pair.base_template)

    found: dict[str, Outcome] = {}
    for pairs in grouped(inputs.judged.pairs(inputs.split), lambda pair: pair.attribute).values():
        candidates = [compare.outcomes(pairs, said) for said in (reader, *_usual(pairs, compare))]
        found |= {outcome.pair_id: outcome for outcome in max(candidates, key=_cause)}
    return [found[pair.pair_id] for pair in inputs.judged.pairs(inputs.split)]


def _cause(outcomes: Sequence[Outcome]) -> float:
    return cause(outcomes, outcomes[0].attribute).value or 0.0


def _usual(pairs: Sequence[InterchangePair], compare: _Comparison) -> list[_Said]:
    """Return the constant answer that is best on training pairs of the same attribute, if there are any."""
    judged, attribute = compare.inputs.judged, pairs[0].attribute
    training = [pair for pair in judged.pairs(TRAIN_SPLIT) if pair.attribute == attribute][:_TRAINING_PAIRS]
    expected = {pair.if_swapped.strip(): judged.prompt(pair.swapped) for pair in training}
    if not expected:
        return []
    constants = [_always(expected[label]) for label in sorted(expected)]
    return [max(constants, key=lambda said: _cause(compare.outcomes(training, said)))]


def _always(record: PromptRecord) -> _Said:
    return lambda pair: record


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Compares answers as they are judged."""

    inputs: ReferenceInputs
    """What is judged."""
    rules: Mapping[str, ToleranceRule]
    """By attribute, for those with a tolerance."""

    @classmethod
    def of(cls, inputs: ReferenceInputs) -> _Comparison:
        """Return the comparison that the entity type asks for."""
        return cls(inputs, tolerance_rules(inputs.instance.entity_type) if inputs.tolerance else {})

    def outcomes(self, pairs: Sequence[InterchangePair], said: _Said) -> list[Outcome]:
        """Return the outcomes of pairs to which something is said."""
        return [
            Outcome.of(pair, said_swapped=self._states(said(pair), pair), said_unchanged=False)
            for pair in pairs
        ]

    def _states(self, said: PromptRecord | None, pair: InterchangePair) -> bool:
        if said is None:
            return False
        if pair.attribute in self.rules:
            rule = self.rules[pair.attribute]
            return rule.verdict(said.label, pair.if_unchanged, pair.if_swapped)[1]
        expected = self.inputs.judged.prompt(pair.swapped)
        first = slice(self.inputs.label_tokens)
        same_text = said.label.strip() == pair.if_swapped.strip()
        return same_text or said.label_ids[first] == expected.label_ids[first]
