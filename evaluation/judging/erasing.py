"""What the model still says where a value is taken from a vector; it knows no target and no measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor
from typing_extensions import Self

from das.edits.base import Edit, Steered
from das.edits.found import erasing_edit_of
from das.engine.base.protocol import AnswerPair, Engine
from das.engine.engines.answering import EngineAnswerer
from das.finding import Finding
from das.positions import EditedTokens
from das.sites import Site
from evaluation.judging.attacks import Attack, attacker
from evaluation.judging.strengths import StrengthJudge
from evaluation.records.outcomes.erasures import ErasedCase, Erasure
from evaluation.scoring.erasure.cases import erased_cases
from evaluation.scoring.erasure.estimates import chosen_strengths
from evaluation.scoring.steering.cases import SEPARATOR
from ravel.instance import Instance


class ErasureJudge(StrengthJudge[ErasedCase, bool]):
    """Erases with one open model, and sees whether it still says what it said."""

    def __init__(
        self,
        engine: Engine,
        strengths: tuple[float, ...],
        label_tokens: int,
        attack: Attack = "none",
        *,
        chat: bool = False,
        tokens: EditedTokens | None = None,
    ) -> None:
        """`attack` is put in front of prompts, in a chat's message if `chat`. Raises SuiteError if there is
        nothing to put there, or no chat template."""
        super().__init__(engine, strengths, label_tokens, tokens)
        self._settings = (attack, chat)
        answerer = EngineAnswerer(engine)
        self._attacker = attacker(attack, lambda text: answerer.in_chat([text])[0], chat=chat)

    def on(self, engine: Engine) -> Self:
        """Return what judges by the same rules with another engine."""
        if engine is self.engine:
            return self
        attack, chat = self._settings
        return type(self)(engine, self.strengths, self.label_tokens, attack, chat=chat, tokens=self.tokens)

    def cases(self, instance: Instance, split: str) -> Sequence[ErasedCase]:
        """Return the cases of a split, in order."""
        return erased_cases(instance, split)

    def edit(
        self, finding: Finding, attribute: str, told: tuple[str, ...], known: Tensor, has: Tensor
    ) -> Edit | None:
        """Return the edit that erases values which comes of what a method found."""
        return erasing_edit_of(finding, attribute, told, known, has)

    def said(
        self, instance: Instance, split: str, cases: Sequence[ErasedCase], site: Site, steered: Steered
    ) -> list[bool]:
        """Return whether each answer is still the model's own."""
        records = [instance.prompt(case.case.rpartition(SEPARATOR)[0]) for case in cases]
        asked = [self._attacker.asked(instance, *both) for both in zip(cases, records, strict=True)]
        answers = [record.label_ids[: self.label_tokens] for record in records]
        choices = [AnswerPair(p, p, (own, own)) for p, own in zip(asked, answers, strict=True)]
        return [own for (own, _), _ in self.predicts(choices, site, steered)]

    def outcome(
        self, case: ErasedCase, strengths: tuple[float, ...], said: Sequence[bool], chosen: int
    ) -> Erasure:
        """Return the outcome of a case."""
        return Erasure(
            **Erasure.case_fields(case), strengths=strengths, said_unchanged=tuple(said), chosen=chosen
        )

    def best(self, outcomes: Sequence[Erasure]) -> Mapping[str, int]:
        """Return the strength with the best overall for each value."""
        return chosen_strengths(outcomes)
