"""Vectors changed by an edit at several strengths, and what the model says then: what steering and erasure
share. It knows no measure; which cases there are, and what an answer comes to, its subclasses know."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor
from typing_extensions import Self

from das.edits.base import Edit, Steered
from das.engine.base.protocol import AnswerPair, Engine, PromptPair
from das.featurizers.subspace import Subspace
from das.finding import Finding
from das.methods.common.concepts import has_tensor
from das.models.weights import all_bytes_hash
from das.positions import EditedTokens
from das.sites import Site
from evaluation.judging.known_vectors import KnownVectors
from evaluation.scoring.detection.cases import values_told
from ravel.common.io import canonical_json
from ravel.common.seeds import grouped
from ravel.instance import Instance
from ravel.terms.schema import Prompt


class EditedCase(Protocol):
    """A prompt under which a vector is changed."""

    @property
    def case(self) -> str:
        """What tells it from the others of its split."""

    @property
    def target(self) -> str:
        """The attribute that is changed."""

    @property
    def value(self) -> str:
        """The value that the edit is about."""


Case = TypeVar("Case", bound=EditedCase)
Said = TypeVar("Said")


class StrengthJudge(ABC, Generic[Case, Said]):
    """Judges edits with one open model, at strengths that validation cases choose."""

    def __init__(
        self,
        engine: Engine,
        strengths: tuple[float, ...],
        label_tokens: int,
        tokens: EditedTokens | None = None,
    ) -> None:
        """Raises SuiteError for tokens at which the engine changes nothing."""
        engine.check_tokens(tokens)
        self.engine = engine
        """Runs the model."""
        self.strengths = strengths
        """The strengths that validation cases are tried at, ascending."""
        self.label_tokens = label_tokens
        """How many of an answer's first tokens are said and compared."""
        self.tokens = tokens
        """At which tokens vectors are changed; None: at the site's position alone."""
        self._known = KnownVectors(engine)
        self._chosen: dict[tuple[str, ...], dict[str, float]] = {}

    def on(self, engine: Engine) -> Self:
        """Return what judges by the same rules with another engine."""
        if engine is self.engine:
            return self
        return type(self)(engine, self.strengths, self.label_tokens, self.tokens)

    @abstractmethod
    def cases(self, instance: Instance, split: str) -> Sequence[Case]:
        """Return the cases of a split, in order."""

    @abstractmethod
    def edit(
        self, finding: Finding, attribute: str, told: tuple[str, ...], known: Tensor, has: Tensor
    ) -> Edit | None:
        """Return the edit that comes of what a method found; None where it is about another attribute."""

    @abstractmethod
    def said(
        self, instance: Instance, split: str, cases: Sequence[Case], site: Site, steered: Steered
    ) -> list[Said]:
        """Return what the model says to cases that are about one value, at one strength."""

    @abstractmethod
    def outcome(self, case: Case, strengths: tuple[float, ...], said: Sequence[Said], chosen: int) -> Any:
        """Return the outcome of a case with what was said at each strength."""

    @abstractmethod
    def best(self, outcomes: Sequence[Any]) -> Mapping[str, int]:
        """Return which strength validation outcomes of one attribute choose for each value."""

    def judge(
        self,
        instance: Instance,
        split: str,
        site: Site,
        finding: Finding | None,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Any]:
        """Return what is said to every case of a split, in their order: on validation cases at every
        strength, elsewhere at the one that validation cases of the same kind chose for the value. None
        changes nothing. Raises SuiteError for a withheld split."""
        cases = self.cases(instance, split)
        found: dict[str, Any] = {}
        for target in dict.fromkeys(case.target for case in cases):
            own = [case for case in cases if case.target == target]
            edit = self._edit(instance, target, site, finding)
            key = (instance.fingerprint, target, str(site), _known_as(finding))
            if edit is None:
                found |= {case.case: self.outcome(case, (), [], -1) for case in own}
            elif split.endswith("_test"):
                best = self._best_strengths(instance, split, site, edit, key)
                found |= self._at_chosen(instance, split, own, site, edit, best)
            else:
                tried = self._at_every(instance, split, own, site, edit)
                self._chosen[(split, *key)] = self._strengths_of(tried, edit)
                found |= tried
            if progress is not None:
                progress(len(found), len(cases))
        return [found[case.case] for case in cases]

    def _edit(self, instance: Instance, target: str, site: Site, finding: Finding | None) -> Edit | None:
        known, told = self._known.of(instance, target, site), values_told(instance)[target]
        found = Subspace(torch.zeros(self.engine.target.width(site), 0)) if finding is None else finding
        edit = self.edit(found.to("cpu"), target, told, known.vectors, has_tensor(known, told))
        return None if edit is None else edit.to(self.engine.target.device)

    def _tried(self, edit: Edit) -> tuple[float, ...]:
        return self.strengths if edit.scales else (1.0,)

    def _at_every(
        self, instance: Instance, split: str, cases: Sequence[Case], site: Site, edit: Edit
    ) -> dict[str, Any]:
        """Return the outcomes of one attribute at all strengths."""
        strengths = self._tried(edit)
        by_strength = [
            self._said(instance, split, cases, site, edit, [strength] * len(cases)) for strength in strengths
        ]
        said = list(zip(*by_strength, strict=True))
        tried = [self.outcome(case, strengths, own, 0) for case, own in zip(cases, said, strict=True)]
        best = self.best(tried)
        return {
            case.case: self.outcome(case, strengths, own, best[case.value])
            for case, own in zip(cases, said, strict=True)
        }

    def _strengths_of(self, tried: Mapping[str, Any], edit: Edit) -> dict[str, float]:
        """Return the strength of each value that outcomes at every strength chose."""
        return {outcome.value: self._tried(edit)[outcome.chosen] for outcome in tried.values()}

    def _best_strengths(
        self, instance: Instance, split: str, site: Site, edit: Edit, key: tuple[str, ...]
    ) -> dict[str, float]:
        """Return the strengths that validation cases of the same kind as a test split's chose, by value; what
        was judged before is known."""
        validation = split.removesuffix("_test") + "_val"
        if (validation, *key) not in self._chosen:
            known = [case for case in self.cases(instance, validation) if case.target == key[1]]
            tried = self._at_every(instance, validation, known, site, edit) if known else {}
            self._chosen[(validation, *key)] = self._strengths_of(tried, edit)
        return self._chosen[(validation, *key)]

    def _at_chosen(
        self,
        instance: Instance,
        split: str,
        cases: Sequence[Case],
        site: Site,
        edit: Edit,
        best: Mapping[str, float],
    ) -> dict[str, Any]:
        """Return the outcomes of one attribute at the best strengths."""
        # A value that no validation case has gets the strength that is chosen most often.
        usual = max(sorted(best.values()), key=list(best.values()).count, default=1.0)
        strengths = [best.get(case.value, usual) for case in cases]
        said = self._said(instance, split, cases, site, edit, strengths)
        return {
            case.case: self.outcome(case, (strength,), [own], 0)
            for case, strength, own in zip(cases, strengths, said, strict=True)
        }

    def predicts(
        self, choices: Sequence[AnswerPair], site: Site, steered: Steered
    ) -> list[tuple[tuple[bool, bool], tuple[int, ...]]]:
        """Return for both answers whether the model gives them where vectors are changed, and the tokens that
        it says; none unless vectors are changed at other tokens than the site's."""
        if self.tokens is None:
            with torch.inference_mode():
                return [(both, ()) for both in self.engine.predicts(choices, site, steered)]
        said = self.continued([choice.base for choice in choices], site, steered)
        return [
            ((_begins(ids, choice.answers[0]), _begins(ids, choice.answers[1])), ids)
            for ids, choice in zip(said, choices, strict=True)
        ]

    def continued(self, prompts: Sequence[Prompt], site: Site, steered: Steered) -> list[tuple[int, ...]]:
        """Return the tokens that the model says to prompts where vectors are changed."""
        pairs = [PromptPair(prompt, prompt) for prompt in prompts]
        with torch.inference_mode():
            found = self.engine.complete_swapped(pairs, site, steered, self.label_tokens, tokens=self.tokens)
        return [one.token_ids for one in found]

    def _said(
        self,
        instance: Instance,
        split: str,
        cases: Sequence[Case],
        site: Site,
        edit: Edit,
        strengths: Sequence[float],
    ) -> list[Said]:
        """Return what is said to each case at its strength."""
        groups = grouped(enumerate(cases), lambda one: (one[1].value, strengths[one[0]]))
        found: dict[int, Said] = {}
        for (value, strength), members in groups.items():
            steered = Steered(edit, edit.values.index(value), strength)
            said = self.said(instance, split, [case for _, case in members], site, steered)
            found |= {row: one for (row, _), one in zip(members, said, strict=True)}
        return [found[row] for row in range(len(cases))]


def _begins(said: tuple[int, ...], answer: tuple[int, ...]) -> bool:
    return said[: len(answer)] == answer


def _known_as(finding: Finding | None) -> str:
    """Return what tells a finding from any other: its kind, settings and tensors."""
    if finding is None:
        return ""
    return f"{finding.kind} {canonical_json(finding.settings())} {all_bytes_hash(finding)}"
