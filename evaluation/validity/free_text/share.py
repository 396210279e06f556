"""Which share of texts after an interchange is like the source's: cause and isolate where answers are not
single tokens; it knows no folder and no run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import PositiveInt

from das.engine.base.protocol import PromptPair
from das.featurizers.base import Featurizer
from das.sites import Site
from evaluation.config.judging import DEFAULT_LABEL_TOKENS
from evaluation.judging.judge import InterchangeJudge
from evaluation.judging.score import require_pairs
from evaluation.records.measured import Interval
from evaluation.records.scores import Outcome
from evaluation.scoring.population.estimate import ANY_SHARE, ShareEstimate, estimate_share
from evaluation.scoring.population.held_out import ALL_SHARES, HeldOut, bias_at, no_kinds
from evaluation.scoring.population.mixture import FloatArray, IntArray, Mixture
from evaluation.scoring.population.paired import PairedModels
from evaluation.validity.diagnosis.sample import Sample, draw_sample
from evaluation.validity.free_text.texts import NaturalText, NaturalTexts, TextConfig, swapped_texts, word_set
from ravel.common.errors import one_of
from ravel.instance import Instance
from ravel.terms.schema import Generalisation, InterchangePair, Partition, split_name

_KINDS = ("texts of the base run", "those of the source run")
_UNDECIDED = np.log(20.0)


class FreeTextConfig(TextConfig):
    """On which pairs texts are compared, and how."""

    generalisation: Generalisation = "context"
    """What is held out."""
    partition: Partition = "val"
    """`val`, so that nothing is chosen on test pairs; or `test`."""
    limit_pairs: PositiveInt = 100
    """Most cause pairs, and most isolate pairs over all other attributes."""
    resamples: PositiveInt = 1000
    """Times that texts, and base entities with all their texts, are drawn again."""
    mixtures: PositiveInt = 40
    """Mixtures of the base run's and the source run's texts for each known share."""
    label_tokens: PositiveInt = DEFAULT_LABEL_TOKENS
    """First tokens of an answer that forced labels compare."""
    tolerance: bool = True
    """Whether forced labels let an answer count that is close."""


@dataclass(frozen=True, slots=True)
class TextShare:
    """How much of what is said to some bases after an interchange is like what is said of their sources."""

    attributes: tuple[str, ...]
    """What the bases ask for."""
    estimate: ShareEstimate
    """The share of source-like texts; a sentence is a text, a document is a base entity."""
    base_run: float
    """The share without an interchange: 0 where words tell both apart wholly."""
    source_run: float
    """The share of what is said to the same templates about the sources' entities: 1 likewise."""
    undecided: float
    """Texts that are less than 20 times likelier one way than the other, as a share."""
    bias: float | None
    """By how much mixtures of both runs that come to the estimate are too high; None without a share."""
    reason: str | None
    """Why no share is identifiable; None where one is."""
    said_swapped: float
    """Share of the same pairs whose forced answer is the source's."""
    said_unchanged: float
    """Share whose forced answer is the base's."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "attributes": list(self.attributes),
            **self.estimate.to_json(),
            "base_run": self.base_run,
            "source_run": self.source_run,
            "undecided": self.undecided,
            "bias": self.bias,
            "reason": self.reason,
            "said_swapped": self.said_swapped,
            "said_unchanged": self.said_unchanged,
        }


@dataclass(frozen=True, slots=True)
class FreeTextScore:
    """Cause and isolate of one featurizer for one target attribute, by free text and by forced labels."""

    target: TextShare
    """On the target attribute's prompts: its share is cause."""
    others: TextShare | None
    """On the others' prompts together: one less its share is isolate; None without other attributes."""
    each_other: tuple[TextShare, ...]
    """The same for each other attribute by itself."""

    @property
    def cause(self) -> float | None:
        """Share of source-like texts on the target's prompts; None where it is not identifiable."""
        return self.target.estimate.share

    @property
    def isolate(self) -> float | None:
        """Share of base-like texts on the others' prompts; None likewise, or without other attributes."""
        share = None if self.others is None else self.others.estimate.share
        return None if share is None else 1 - share

    @property
    def cause_interval(self) -> Interval | None:
        """95 % interval of cause over base entities drawn again."""
        return _interval(self.target)

    @property
    def isolate_interval(self) -> Interval | None:
        """95 % interval of isolate over base entities drawn again."""
        found = None if self.others is None else _interval(self.others)
        return None if found is None else (1 - found[1], 1 - found[0])

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "cause": self.cause,
            "cause_interval": self.cause_interval and list(self.cause_interval),
            "isolate": self.isolate,
            "isolate_interval": self.isolate_interval and list(self.isolate_interval),
            "target": self.target.to_json(),
            "others": None if self.others is None else self.others.to_json(),
            "each_other": [one.to_json() for one in self.each_other],
        }


def _interval(found: TextShare) -> Interval | None:
    return found.estimate.by_document or found.estimate.by_sentence


class FreeTextScorer:
    """Compares free texts on the pairs of one instance; what the model says by itself is asked once."""

    def __init__(self, instance: Instance, judge: InterchangeJudge, config: FreeTextConfig) -> None:
        """Raises SuiteError for a split without pairs."""
        require_pairs(instance, split_name(config.generalisation, config.partition))
        self._instance = instance
        self._judge = judge
        self._config = config
        self._natural = NaturalTexts(judge.engine, config)

    def score(self, featurizer: Featurizer | None, site: Site, attribute: str) -> FreeTextScore:
        """Return cause and isolate by free text for a target attribute; without a featurizer nothing is
        interchanged. Raises SuiteError for an unknown attribute, an engine that can't draw texts and a site
        that the model lacks; NotApplicableError for a split without pairs of the attribute."""
        instance, config, engine = self._instance, self._config, self._judge.engine
        one_of(f"attribute of this {instance.entity_type} instance", attribute, instance.attributes)
        engine.target.check(site)
        split = split_name(config.generalisation, config.partition)
        sample = draw_sample(instance, attribute, split, limit=config.limit_pairs, seed=config.seed)
        compared = self._compared(sample, featurizer, site)
        names = [name for name in instance.attributes if name != attribute]
        others = [self._share(compared, [name]) for name in names if compared.asking([name]).any()]
        return FreeTextScore(
            target=self._share(compared, [attribute]),
            others=self._share(compared, names) if others else None,
            each_other=tuple(others),
        )

    def _compared(self, sample: Sample, featurizer: Featurizer | None, site: Site) -> _Compared:
        pairs = sample.instance.pairs(sample.split)
        bases, sources = self._texts(sample, "base"), self._texts(sample, "swapped")
        prompts = [[sample.instance.prompt(i).prompt for i in (pair.base, pair.source)] for pair in pairs]
        swapped = swapped_texts(
            self._judge.engine, [PromptPair(*two) for two in prompts], site, featurizer, self._config.tokens
        )
        models = _models(pairs, {**bases, **sources})
        ratios = np.empty((3, len(pairs)))
        for place, (pair, after) in enumerate(zip(pairs, swapped, strict=True)):
            # Whom a text is about is no answer to what is asked.
            names = word_set(f"{pair.base_entity} {pair.source_entity}")
            texts = (bases[pair.base].likeliest, sources[pair.swapped].likeliest, after)
            ratios[:, place] = [
                models[pair.attribute].log_ratio(text, pair.base, pair.swapped, names) for text in texts
            ]
        outcomes = self._judge.judge(sample.instance, sample.split, site, featurizer)
        return _Compared(pairs, ratios[0], ratios[1], ratios[2], outcomes)

    def _texts(self, sample: Sample, which: str) -> dict[str, NaturalText]:
        ids = list(dict.fromkeys(getattr(pair, which) for pair in sample.instance.pairs(sample.split)))
        found = self._natural.of([sample.instance.prompt(i).prompt for i in ids])
        return dict(zip(ids, found, strict=True))

    def _share(self, compared: _Compared, attributes: Sequence[str]) -> TextShare:
        own, config = compared.asking(attributes), self._config
        base, source, swapped = compared.base[own], compared.source[own], compared.swapped[own]
        estimate = estimate_share(
            swapped, compared.entities(own), resamples=config.resamples, seed=config.seed
        )
        bias, reason = _doubts(estimate, base, source, config)
        outcomes = [outcome for outcome, asked in zip(compared.outcomes, own, strict=True) if asked]
        return TextShare(
            attributes=tuple(attributes),
            estimate=_unnamed(estimate) if reason else estimate,
            base_run=Mixture.of(base).likeliest(),
            source_run=Mixture.of(source).likeliest(),
            undecided=float((np.abs(swapped) < _UNDECIDED).mean()),
            bias=bias,
            reason=reason,
            said_swapped=sum(outcome.said_swapped for outcome in outcomes) / len(outcomes),
            said_unchanged=sum(outcome.said_unchanged for outcome in outcomes) / len(outcomes),
        )


@dataclass(frozen=True, slots=True)
class _Compared:
    """Pairs with the log ratios of their texts, ln Q - ln P with Q what is said of the source's entity and P
    what is said of the base's, and what forced labels say."""

    pairs: Sequence[InterchangePair]
    base: FloatArray
    """Of what is said to the base, [n_pairs]."""
    source: FloatArray
    """Of what is said to the base's template about the source's entity, [n_pairs]."""
    swapped: FloatArray
    """Of what is said to the base after the interchange, [n_pairs]."""
    outcomes: Sequence[Outcome]
    """The verdicts on forced labels, in the order of the pairs."""

    def asking(self, attributes: Sequence[str]) -> Any:
        """Return which pairs' bases ask for one of these, [n_pairs]."""
        return np.isin([pair.attribute for pair in self.pairs], attributes)

    def entities(self, chosen: Any) -> IntArray | None:
        """Return the number of each chosen pair's base entity; None if there is only one."""
        names = [pair.base_entity for pair, asked in zip(self.pairs, chosen, strict=True) if asked]
        distinct, numbers = np.unique(names, return_inverse=True)
        return numbers.astype(np.int64) if len(distinct) > 1 else None


def _models(pairs: Sequence[InterchangePair], texts: dict[str, NaturalText]) -> dict[str, PairedModels]:
    """Return the models of each attribute's prompts: what all of these say alike tells nothing."""
    prompts: dict[str, dict[str, None]] = {}
    for pair in pairs:
        prompts.setdefault(pair.attribute, {}).update(dict.fromkeys((pair.base, pair.swapped)))
    return {
        attribute: PairedModels({prompt: texts[prompt].drawn for prompt in own})
        for attribute, own in prompts.items()
    }


def _doubts(
    estimate: ShareEstimate, base: FloatArray, source: FloatArray, config: FreeTextConfig
) -> tuple[float | None, str | None]:
    """Return the bias at the estimate, or the reason why there is none."""
    # What a model says likeliest is in none of the drawn texts that models of words are made of.
    held, size, repeats = HeldOut(((base, source),)), len(base), config.mixtures
    reason = no_kinds(held, _KINDS, size=size, repeats=repeats, seed=config.seed)
    if reason is not None or estimate.share is None:
        return None, reason or ANY_SHARE
    recovered = held.recover(ALL_SHARES, size=size, repeats=repeats, seed=config.seed)
    return bias_at(estimate.share, recovered), None


def _unnamed(found: ShareEstimate) -> ShareEstimate:
    return ShareEstimate(None, found.n_sentences, found.n_documents, found.likelihood, None, None)
