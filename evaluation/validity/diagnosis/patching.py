"""Runs one patch after the other on the pairs of a diagnosis; what the patches mean is not known here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from das.featurizers.base import Featurizer
from das.sites import Site
from evaluation.judging.judge import InterchangeJudge
from evaluation.records.diagnosis import PatchScore
from evaluation.scoring.interchange.metrics import scores
from evaluation.scoring.mean import mean
from evaluation.validity.diagnosis.sample import LogitDifference, Sample, logit_differences


@dataclass(frozen=True, slots=True)
class JudgedPatch:
    """A patch with its scores and the logits of each contrast pair's answers."""

    score: PatchScore
    """Its row."""
    logits: LogitDifference
    """Of the contrast pairs."""


@dataclass(slots=True)
class Patcher:
    """Judges patches on one sample; what the model says by itself is asked once."""

    sample: Sample
    """The pairs."""
    judge: InterchangeJudge
    """Judges with the model."""
    site: Site
    """Where patches are made unless another site is given."""
    base: LogitDifference = field(init=False)
    """Logits when nothing is patched."""
    natural: LogitDifference = field(init=False)
    """Logits in natural runs of the source's entity under the base's template."""

    def __post_init__(self) -> None:
        pairs, engine = self.sample.contrast_pairs, self.judge.engine
        self.base = logit_differences(pairs, engine, self.site, None)
        self.natural = logit_differences(pairs, engine, self.site, None, natural=True)

    def judged(
        self, name: str, featurizer: Featurizer | None, about: str = "", *, at: Site | None = None
    ) -> JudgedPatch:
        """Patch, judge every pair of the sample, and score it for the target attribute."""
        site, engine = at or self.site, self.judge.engine
        outcomes = self.judge.judge(self.sample.instance, self.sample.split, site, featurizer)
        found = scores(outcomes, self.sample.attribute)
        placed = None if featurizer is None else featurizer.to(engine.target.device)
        logits = logit_differences(self.sample.contrast_pairs, engine, site, placed)
        fldd, reach = self.decrease(logits), self.reach(logits)
        size = 0 if featurizer is None else featurizer.size
        score = PatchScore(
            name, about, size, found.cause, found.isolate, found.disentangle, fldd=fldd, reach=reach
        )
        return JudgedPatch(score, logits)

    def decrease(self, logits: LogitDifference) -> float | None:
        """Return the fractional logit-difference decrease, `1 - mean(LD patched) / mean(LD base)`.

        Makelov, Lange, Nanda 2024 (arXiv 2311.17030), with means taken before the ratio, for single
        differences may be near 0. None where the model did not lean to its own answer at all.
        """
        start = _mean(self.base.difference)
        return None if start is None or start <= 0 else 1 - _sure(_mean(logits.difference)) / start

    def reach(self, logits: LogitDifference) -> float | None:
        """Return how far the mean difference came from the base's to the natural run's: 0 to 1, or beyond."""
        start, end = _mean(self.base.difference), _mean(self.natural.difference)
        if start is None or end is None or start <= end:
            return None
        return (start - _sure(_mean(logits.difference))) / (start - end)

    def louder(self, logits: LogitDifference, by: float) -> float | None:
        """Return the share of pairs whose source answer got likelier than in its natural run, by more
        than `by`."""
        beyond = logits.swapped_probability - self.natural.swapped_probability > by
        return _mean(beyond.double())


def mean_scores(name: str, about: str, found: Sequence[PatchScore]) -> PatchScore:
    """Return the mean of several patches, number by number; None where one has none."""
    return PatchScore(
        name,
        about,
        found[0].size,
        cause=mean([p.cause for p in found]),
        isolate=mean([p.isolate for p in found]),
        disentangle=mean([p.disentangle for p in found]),
        fldd=mean([p.fldd for p in found]),
        reach=mean([p.reach for p in found]),
    )


def no_patch(name: str, about: str, reason: str) -> PatchScore:
    """Return the row of a patch that could not be made."""
    return PatchScore(name, about, None, None, None, None, None, None, reason)


def _mean(values: Tensor) -> float | None:
    return float(values.mean()) if values.numel() else None


def _sure(value: float | None) -> float:
    assert value is not None
    return value
