"""A track as small as one can be, and unlike interchange: whether the first letter of a prompt's answer can
be told from what a featurizer reads at the site. Nothing is swapped, there is no source. A plugin for tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from evaluation.config.judging import Judging
from evaluation.records.scores import JudgedCase
from evaluation.scoring.clusters import Clusters, Counts
from evaluation.scoring.intervals import Estimate
from evaluation.scoring.mean import mean
from evaluation.scoring.track import Measure, Reference, Track, TrackConfig
from evaluation.scoring.variance import Spread, contributions_of
from ravel.instance import Instance, PromptRecord
from ravel.terms.schema import TRAIN_SPLIT

if TYPE_CHECKING:
    from torch import Tensor

    from das.engine.base.protocol import Engine
    from das.featurizers.base import Featurizer
    from das.sites import Site


class RecognitionConfig(TrackConfig):
    """Settings of the track."""

    scaled: bool = False
    """Divide each feature by its spread over the training prompts."""


@dataclass(frozen=True, slots=True)
class AskedPrompt:
    """One case: a prompt that is read."""

    prompt_id: str
    attribute: str
    base_template: str
    base_entity: str


@dataclass(frozen=True, slots=True)
class Recognised(AskedPrompt, JudgedCase):
    """One outcome: how clearly a prompt's own value is the nearest."""

    WORD, ID, VERDICT = "prompt", "prompt_id", ("margin",)

    margin: float
    """How much nearer the mean of its own value lies than any other's; not above 0 where another is as
    near."""


@dataclass(frozen=True)
class NearestMean:
    """Tells values by the nearest mean of training prompts."""

    engine: Engine
    config: RecognitionConfig

    def on(self, engine: Engine) -> NearestMean:
        """Return the same with another engine."""
        return NearestMean(engine, self.config)

    def judge(
        self,
        instance: Instance,
        split: str,
        site: Site,
        featurizer: Featurizer | None,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Recognised]:
        """Return a margin for each prompt of the split."""
        cases = TRACK.cases(instance, split)
        trained = [record for record in instance.prompts(TRAIN_SPLIT) if record.prompt.attribute is not None]
        asked = [instance.prompt(case.prompt_id) for case in cases]
        known, read = (self._features(records, site, featurizer) for records in (trained, asked))
        if self.config.scaled:
            spread = known.std(dim=0) + 1e-6
            known, read = known / spread, read / spread
        means = _means(trained, known)
        found = []
        for case, record, vector in zip(cases, asked, read, strict=True):
            margin = _margin(vector, _value(record), means[case.attribute])
            identity = (case.prompt_id, case.attribute, case.base_template, case.base_entity)
            found.append(Recognised(*identity, margin))
        if progress is not None:
            progress(len(found), len(cases))
        return found

    def _features(self, records: Sequence[PromptRecord], site: Site, featurizer: Featurizer | None) -> Tensor:
        vectors = self.engine.collect([record.prompt for record in records], [site])[site].cpu()
        if featurizer is None:
            return vectors[:, :0]
        placed = featurizer.to("cpu")
        return placed.encode(vectors)[:, placed.mask() > 0.5].detach()


def _means(records: Sequence[PromptRecord], features: Tensor) -> dict[str, dict[str, Tensor]]:
    """Return the mean features of each value, by attribute."""
    rows: dict[str, dict[str, list[int]]] = {}
    for row, record in enumerate(records):
        rows.setdefault(record.prompt.attribute or "", {}).setdefault(_value(record), []).append(row)
    return {a: {v: features[own].mean(dim=0) for v, own in values.items()} for a, values in rows.items()}


def _value(record: PromptRecord) -> str:
    return record.label.strip()[:1]


def _margin(vector: Tensor, own: str, means: Mapping[str, Tensor]) -> float:
    away = {value: float((vector - mean_of).norm()) for value, mean_of in means.items()}
    others = [distance for value, distance in away.items() if value != own]
    # A value that no training prompt has can't be told.
    return min(others, default=0.0) - away[own] if own in away else -min(others, default=1.0)


class Recognition(Track[Recognised]):
    """Values told by the nearest mean, of the target attribute and of the others."""

    name: ClassVar[str] = "recognition"
    summary: ClassVar[str] = "Values are told from what the featurizer reads; nothing is swapped"
    question: ClassVar[str] = "Which features tell the value of an attribute?"
    heading: ClassVar[str] = "Recognition"
    praise: ClassVar[str] = "tells values best"
    unit: ClassVar[str] = "prompts"
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("recognised", "share of the target attribute's prompts whose own value is the nearest"),
        Measure("leaked", "the same share of the other attributes' prompts", higher_is_better=False),
    )
    criterion: ClassVar[str] = "recognised"
    references: ClassVar[tuple[Reference, ...]] = (
        Reference("random_subspace", "reads a random part", verdict="a random part"),
        Reference(
            "full_vector", "reads all there is", verdict="reading the whole vector", ceiling_of="recognised"
        ),
    )
    baseline: ClassVar[str] = "random_subspace"
    outcome: ClassVar[type[Recognised]] = Recognised
    validated_by: ClassVar[str] = "prompts"
    config_class: ClassVar[type[RecognitionConfig]] = RecognitionConfig

    def judge(self, engine: Engine, judging: Judging) -> NearestMean:
        """Return what tells values by their nearest mean."""
        return NearestMean(engine, self.settings(judging))

    def cases(self, instance: Instance, split: str) -> Sequence[AskedPrompt]:
        """Return the base prompts of the split's pairs, each once."""
        ids = dict.fromkeys(pair.base for pair in instance.pairs(split))
        prompts = {prompt_id: instance.prompt(prompt_id).prompt for prompt_id in ids}
        return [AskedPrompt(i, p.attribute or "", p.template, p.entity) for i, p in prompts.items()]

    def estimate(
        self, outcomes: Sequence[Recognised], attribute: str, clusters: Clusters
    ) -> dict[str, Estimate]:
        """Return both shares, each the mean over templates, then attributes."""
        cells = clusters.cells(outcomes)
        right = np.array([outcome.margin > 0 for outcome in outcomes], dtype=bool)
        counts = Counts(clusters.counted(cells), clusters.counted(cells[right]))
        asked = {outcome.attribute for outcome in outcomes}
        others = sorted(asked - {attribute})
        return {
            "recognised": _share(counts, clusters, [attribute] if attribute in asked else []),
            "leaked": _share(counts, clusters, others),
        }


def _share(counts: Counts, clusters: Clusters, attributes: Sequence[str]) -> Estimate:
    if not attributes:
        return Estimate(None, 0)
    pairs, right = counts.pairs.sum(axis=0), counts.right.sum(axis=0)
    columns = {name: [c for c in clusters.columns()[name] if pairs[c]] for name in attributes}
    shares = [mean([right[c] / pairs[c] for c in own]) for own in columns.values()]
    weights = {name: 1 / len(attributes) for name in attributes}
    return Estimate(
        mean(shares),
        int(sum(pairs[c] for own in columns.values() for c in own)),
        Spread((contributions_of(clusters, counts, weights),)),
    )


TRACK = Recognition()
