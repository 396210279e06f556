"""What the model says where a vector is changed towards a value, and what it costs; it knows no target and no
measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from das.detectors.question import Question
from das.edits.base import Edit, Steered
from das.edits.found import edit_of
from das.edits.preface import Preface
from das.engine.base.protocol import AnswerPair, Engine, FeaturizedPairs, ForcedPair
from das.finding import Finding
from das.methods.detection.prompt import stating_sentences
from das.positions import EditedTokens
from das.sites import Site
from evaluation.judging.judge import longer_only
from evaluation.judging.strengths import StrengthJudge
from evaluation.records.outcomes.steerings import SteeredCase, Steering
from evaluation.scoring.steering.cases import SEPARATOR, steered_cases
from evaluation.scoring.steering.estimates import chosen_strengths
from ravel.instance import Instance, PromptRecord
from ravel.terms.schema import InterchangePair, Prompt

_ANYWHERE = Site(0, position="prompt_last")
"""Where nothing is changed, which may be anywhere."""
_DIGITS = 4
"""Significant digits of what an answer costs: batches of other rows round the rest otherwise."""


@dataclass(frozen=True, slots=True)
class _Said:
    """What is said to one case at one strength."""

    value: bool
    """The answer of the entity that the value is from."""
    unchanged: bool
    """The model's own."""
    extra_nats: float
    """What it costs beyond the model's own answer, per token."""


class SteeringJudge(StrengthJudge[SteeredCase, _Said]):
    """Steers with one open model. What answers cost the model that is left alone is worked out once."""

    def __init__(
        self,
        engine: Engine,
        strengths: tuple[float, ...],
        label_tokens: int,
        tokens: EditedTokens | None = None,
    ) -> None:
        super().__init__(engine, strengths, label_tokens, tokens)
        self._answers: dict[str, tuple[int, ...]] = {}
        self._costs: dict[tuple[str, tuple[int, ...]], float] = {}

    def cases(self, instance: Instance, split: str) -> Sequence[SteeredCase]:
        """Return the cases of a split, in order."""
        return steered_cases(instance, split)

    def edit(
        self, finding: Finding, attribute: str, told: tuple[str, ...], known: Tensor, has: Tensor
    ) -> Edit | None:
        """Return the edit towards values that comes of what a method found."""
        return edit_of(finding, attribute, told, known, has)

    def _edit(self, instance: Instance, target: str, site: Site, finding: Finding | None) -> Edit | None:
        """Return the edit; of a model that is asked, a sentence in front of the prompt."""
        if not isinstance(finding, Question):
            return super()._edit(instance, target, site, finding)
        if finding.attribute != target:
            return None
        # The sentences are the instance's own text, and not to be found in a file of the method's.
        sentences = stating_sentences(instance, target, finding.values)
        return Preface(target, finding.values, sentences, width=finding.width) if sentences else None

    def said(
        self, instance: Instance, split: str, cases: Sequence[SteeredCase], site: Site, steered: Steered
    ) -> list[_Said]:
        """Return which of the two answers the model gives to each case, and what another costs."""
        both = _both(instance, split, cases)
        # The base stands for the source, which is not looked at.
        asked = [steered.asked(base.prompt) for base, _ in both]
        choices = [
            AnswerPair(prompt, prompt, (self._ids(base), self._ids(source)))
            for prompt, (base, source) in zip(asked, both, strict=True)
        ]
        found = self.predicts(choices, site, steered)
        flags = [longer_only(choice, *both) for choice, (both, _) in zip(choices, found, strict=True)]
        open_at = [row for row, one in enumerate(flags) if not any(one)]
        if self.tokens is None:
            answers = self.continued([asked[row] for row in open_at], site, steered)
        else:
            answers = [found[row][1] for row in open_at]
        extra = self._extra([record.prompt for row in open_at for record in both[row]], answers)
        costs = dict(zip(open_at, extra, strict=True))
        return [_Said(new, old, costs.get(row, 0.0)) for row, (old, new) in enumerate(flags)]

    def outcome(
        self, case: SteeredCase, strengths: tuple[float, ...], said: Sequence[_Said], chosen: int
    ) -> Steering:
        """Return the outcome of a case."""
        return Steering(
            **Steering.case_fields(case),
            strengths=strengths,
            said_value=tuple(one.value for one in said),
            said_unchanged=tuple(one.unchanged for one in said),
            extra_nats=tuple(one.extra_nats for one in said),
            chosen=chosen,
        )

    def best(self, outcomes: Sequence[Steering]) -> Mapping[str, int]:
        """Return the strength with the best overall for each value."""
        return chosen_strengths(outcomes)

    def _ids(self, record: PromptRecord) -> tuple[int, ...]:
        return record.label_ids[: self.label_tokens]

    def _extra(self, prompts: Sequence[Prompt], answers: Sequence[tuple[int, ...]]) -> list[float]:
        """Return how many nats per token each answer costs beyond the model's own, under the first or under
        the second of its two prompts, whichever are fewer."""
        self._learn_answers(prompts)
        twice = [answer for answer in answers for _ in range(2)]
        own = [self._answers[prompt.text] for prompt in prompts]
        self._learn_costs([*zip(prompts, twice, strict=True), *zip(prompts, own, strict=True)])
        extra = [
            self._costs[prompt.text, answer] - self._costs[prompt.text, natural]
            for prompt, answer, natural in zip(prompts, twice, own, strict=True)
        ]
        fewest = [min(pair) for pair in zip(extra[::2], extra[1::2], strict=True)]
        return [float(f"{one:.{_DIGITS}g}") for one in fewest]

    def _learn_answers(self, prompts: Sequence[Prompt]) -> None:
        """Have the model say what it says without any edit, as far as answers are compared."""
        new = list({p.text: p for p in prompts if p.text not in self._answers}.values())
        with torch.inference_mode():
            found = self.engine.complete(new, self.label_tokens)
        self._answers.update((p.text, one.token_ids) for p, one in zip(new, found, strict=True))

    def _learn_costs(self, wanted: Sequence[tuple[Prompt, tuple[int, ...]]]) -> None:
        """Work out the mean cross entropy of answers, in nats per token, without any edit."""
        new = {(p.text, ids): p for p, ids in wanted if (p.text, ids) not in self._costs}
        if not new:
            return
        pairs = [ForcedPair(prompt, prompt, ids) for (_, ids), prompt in new.items()]
        with torch.inference_mode():
            (found,) = self.engine.forced_labels([FeaturizedPairs(pairs, None)], _ANYWHERE)
        self._costs.update(zip(new, found.cross_entropy.tolist(), strict=True))


def _both(
    instance: Instance, split: str, cases: Sequence[SteeredCase]
) -> list[tuple[PromptRecord, PromptRecord]]:
    """Return the base of each case, and the same template about the entity that the value is from."""
    pairs: Mapping[str, InterchangePair] = {pair.pair_id: pair for pair in instance.pairs(split)}
    own = [pairs[case.case.rpartition(SEPARATOR)[0]] for case in cases]
    return [(instance.prompt(pair.base), instance.prompt(pair.swapped)) for pair in own]
