"""What the model says to each pair after the interchange, judged against both answers; it knows no target and
no score.

A greedy output begins with a label exactly when, with that label forced after the prompt, each forced
position's argmax is the label's token, so that no text has to be generated. Where an answer that comes close
counts as well (latitude within two degrees), the model says freely what it will and the matcher judges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from das.engine.base.protocol import AnswerPair, Engine, PromptPair
from das.engine.engines.answering import EngineAnswerer
from das.featurizers.base import Featurizer
from das.sites import Site
from evaluation.config.judging import DEFAULT_LABEL_TOKENS
from evaluation.judging.tolerance import ToleranceRule, tolerance_rules
from evaluation.records.scores import Outcome
from ravel.common.errors import SuiteError
from ravel.instance import Instance
from ravel.terms.schema import InterchangePair, Prompt

_CHUNK = 1024
"""Pairs between two reports of progress."""
_ANSWER_TOKENS = 8
"""Length of a free answer where the instance does not say how long those behind its labels were."""


@dataclass(frozen=True, slots=True)
class _Case:
    """A pair with the token ids of both answers, cut where they are told apart."""

    pair: InterchangePair
    """The pair."""
    choice: AnswerPair
    """Base and source prompts, and the ids of `if_unchanged` and `if_swapped`: never equal, though one may
    begin with the other."""


def judge(
    instance: Instance,
    split: str,
    engine: Engine,
    site: Site,
    featurizer: Featurizer | None,
    *,
    label_tokens: int = DEFAULT_LABEL_TOKENS,
    tolerance: bool = True,
    natural: NaturalAnswers | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Outcome]:
    """Judge every pair of `split` exactly once and return the outcomes in the order of the pairs.

    The first `label_tokens` ids of each answer are compared, more where the two differ only later. Where one
    answer begins with the other (`1` and `19`), the longer one that matches was said, so both flags are never
    true. With `tolerance`, pairs that ask for an attribute whose matcher has one are judged by what the model
    freely says instead (`ToleranceRule`); with `natural`, which is kept over calls, that is first compared
    with what the model says by itself: nothing changes but the time. With `featurizer=None` nothing is
    interchanged; any other one is moved to the model's device. Raises SuiteError for a withheld split, or a
    pair whose answers have the same ids.
    """
    cases = [_case(instance, pair, label_tokens) for pair in instance.pairs(split)]
    natural = natural if tolerance else None
    placed = None if featurizer is None else featurizer.to(engine.target.device)
    rules = tolerance_rules(instance.entity_type) if tolerance else {}
    forced = [i for i, case in enumerate(cases) if case.pair.attribute not in rules]
    free = [i for i, case in enumerate(cases) if case.pair.attribute in rules]
    answer_tokens = _answer_tokens(instance, [cases[i] for i in free])
    speaker = _Speaker(instance, engine, site, placed, rules, answer_tokens, natural)
    found: dict[int, Outcome] = {}
    for numbers, said_by in ((forced, speaker.forced), (free, speaker.free)):
        for start in range(0, len(numbers), _CHUNK):
            chunk = numbers[start : start + _CHUNK]
            some = [cases[i] for i in chunk]
            for i, (unchanged, swapped) in zip(chunk, said_by(some), strict=True):
                found[i] = Outcome.of(cases[i].pair, said_swapped=swapped, said_unchanged=unchanged)
            if progress is not None:
                progress(len(found), len(cases))
    return [found[i] for i in range(len(cases))]


@dataclass(frozen=True, slots=True)
class _Speaker:
    """What the model says under one interchange, judged in either way."""

    instance: Instance
    """The pairs' prompts."""
    engine: Engine
    """Runs the model."""
    site: Site
    """Where vectors are interchanged."""
    featurizer: Featurizer | None
    """What swaps; None: nothing is changed."""
    rules: Mapping[str, ToleranceRule]
    """By attribute, for those that are judged by a free answer."""
    answer_tokens: int
    """Length of a free answer."""
    natural: NaturalAnswers | None
    """What the model says by itself."""

    def forced(self, cases: Sequence[_Case]) -> list[tuple[bool, bool]]:
        """Return for each case whether `if_unchanged` and whether `if_swapped` was said, by forced labels."""
        with torch.inference_mode():
            said = self.engine.predicts([case.choice for case in cases], self.site, self.featurizer)
        return [longer_only(case.choice, *both) for case, both in zip(cases, said, strict=True)]

    def free(self, cases: Sequence[_Case]) -> list[tuple[bool, bool]]:
        """Return the same by what the model says freely, as far as it must be known."""
        nothing: list[str | None] = [None] * len(cases)
        texts = nothing if self.natural is None else self._natural(cases, self.natural)
        open_at = [i for i, text in enumerate(texts) if text is None]
        for i, text in zip(open_at, self._completed([cases[i] for i in open_at]), strict=True):
            texts[i] = text
        return [
            self.rules[case.pair.attribute].verdict(text or "", case.pair.if_unchanged, case.pair.if_swapped)
            for case, text in zip(cases, texts, strict=True)
        ]

    def _natural(self, cases: Sequence[_Case], natural: NaturalAnswers) -> list[str | None]:
        """Return what is said where that is what the model says by itself to the base, or to the base with
        the source's entity; None elsewhere.

        Mostly it is, and then nothing has to be completed: both are forced, as labels are. They go on until
        nothing that could follow matters, so that the verdict is that of a completion.
        """
        prompts = [
            [self.instance.prompt(getattr(case.pair, which)).prompt for case in cases]
            for which in ("base", "swapped")
        ]
        rules = [self.rules[case.pair.attribute] for case in cases]
        own, swapped = (natural.answers(some, rules, self.answer_tokens) for some in prompts)
        told = [i for i in range(len(cases)) if own[i] and swapped[i]]
        choices = [
            AnswerPair(cases[i].choice.base, cases[i].choice.source, (own[i], swapped[i])) for i in told
        ]
        with torch.inference_mode():
            said = self.engine.predicts(choices, self.site, self.featurizer)
        decode = EngineAnswerer(self.engine).decode
        texts: list[str | None] = [None] * len(cases)
        for i, (as_own, as_swapped) in zip(told, said, strict=True):
            if as_own or as_swapped:
                texts[i] = decode(own[i] if as_own else swapped[i])
        return texts

    def _completed(self, cases: Sequence[_Case]) -> list[str]:
        rules = [self.rules[case.pair.attribute] for case in cases]
        pairs = [PromptPair(case.choice.base, case.choice.source) for case in cases]
        decided = _decider(rules, EngineAnswerer(self.engine).decode)
        with torch.inference_mode():
            answers = self.engine.complete_swapped(
                pairs, self.site, self.featurizer, self.answer_tokens, decided
            )
        return [answer.text for answer in answers]


class NaturalAnswers:
    """What a model says to prompts without any interchange, asked once and kept."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[tuple[str, ToleranceRule, int], tuple[int, ...]] = {}

    def answers(
        self, prompts: Sequence[Prompt], rules: Sequence[ToleranceRule], tokens: int
    ) -> list[tuple[int, ...]]:
        """Return the ids of each answer, at most `tokens`, until its rule has nothing more to ask."""
        keys = [(prompt.text, rule, tokens) for prompt, rule in zip(prompts, rules, strict=True)]
        new = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in self._known}
        decided = _decider([rule for _, rule, _ in new], EngineAnswerer(self._engine).decode)
        with torch.inference_mode():
            found = self._engine.complete(list(new.values()), tokens, decided)
        self._known.update((key, answer.token_ids) for key, answer in zip(new, found, strict=True))
        return [self._known[key] for key in keys]


class InterchangeJudge:
    """Judges with one open model; what that says by itself is asked once and kept for all calls."""

    def __init__(
        self, engine: Engine, *, label_tokens: int = DEFAULT_LABEL_TOKENS, tolerance: bool = True
    ) -> None:
        self.engine = engine
        """Runs the model."""
        self.label_tokens = label_tokens
        """How many of an answer's first tokens are compared."""
        self.tolerance = tolerance
        """Whether an answer that is close counts where the attribute's matcher lets it."""
        self._natural = NaturalAnswers(engine)

    def on(self, engine: Engine) -> InterchangeJudge:
        """Return what judges by the same rules with another engine."""
        if engine is self.engine:
            return self
        return InterchangeJudge(engine, label_tokens=self.label_tokens, tolerance=self.tolerance)

    def judge(
        self,
        instance: Instance,
        split: str,
        site: Site,
        featurizer: Featurizer | None,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Outcome]:
        """Return the outcomes of a split under a featurizer, or under none, in the order of its pairs; raises
        SuiteError as `judge` does."""
        return judge(
            instance,
            split,
            self.engine,
            site,
            featurizer,
            label_tokens=self.label_tokens,
            tolerance=self.tolerance,
            natural=self._natural,
            progress=progress,
        )


def _decider(
    rules: Sequence[ToleranceRule], decode: Callable[[Sequence[int]], str]
) -> Callable[[int, tuple[int, ...]], bool]:
    """Return whether the answer at a place, as far as it goes, settles its rule; worked out once each."""
    settled: dict[tuple[ToleranceRule, tuple[int, ...]], bool] = {}

    def decided(place: int, token_ids: tuple[int, ...]) -> bool:
        key = (rules[place], token_ids)
        if key not in settled:
            settled[key] = rules[place].settled(decode(token_ids))
        return settled[key]

    return decided


def _answer_tokens(instance: Instance, cases: Sequence[_Case]) -> int:
    """Return how many tokens a free answer has: as many as those behind the labels, so that a model that is
    left alone says its labels."""
    stated = instance.manifest.config.get("max_new_tokens")
    labels = (instance.prompt(i).label_ids for case in cases for i in (case.pair.base, case.pair.swapped))
    return max([stated if isinstance(stated, int) else _ANSWER_TOKENS, *map(len, labels)])


def _case(instance: Instance, pair: InterchangePair, label_tokens: int) -> _Case:
    base, swapped = instance.prompt(pair.base), instance.prompt(pair.swapped)
    n = max(label_tokens, _common_length(base.label_ids, swapped.label_ids) + 1)
    if base.label_ids == swapped.label_ids or not base.label_ids or not swapped.label_ids:
        raise SuiteError(
            expected=f"two answers that differ in their token ids for pair {pair.pair_id}",
            came=f"{pair.if_unchanged!r} with {base.label_ids}, {pair.if_swapped!r} with {swapped.label_ids}",
            todo="build the instance again with this version of ravel-bench",
        )
    source = instance.prompt(pair.source).prompt
    return _Case(pair, AnswerPair(base.prompt, source, (base.label_ids[:n], swapped.label_ids[:n])))


def _common_length(first: Sequence[int], second: Sequence[int]) -> int:
    n = 0
    while n < min(len(first), len(second)) and first[n] == second[n]:
        n += 1
    return n


def longer_only(choice: AnswerPair, said_unchanged: bool, said_swapped: bool) -> tuple[bool, bool]:
    """Of two answers that were said, one of which begins with the other, keep the longer."""
    unchanged, swapped = choice.answers
    if said_unchanged and said_swapped:
        return len(unchanged) >= len(swapped), len(swapped) > len(unchanged)
    return said_unchanged, said_swapped
