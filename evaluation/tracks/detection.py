"""Detection: whether the values of entities can be told from a vector; the second track."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from evaluation.config.judging import Judging
from evaluation.records.outcomes.detections import DetectedCase, Detection
from evaluation.scoring.clusters import Clusters
from evaluation.scoring.detection.cases import detected_cases
from evaluation.scoring.detection.estimates import estimate_detection
from evaluation.scoring.intervals import Estimate
from evaluation.scoring.track import Measure, Reference, TrackConfig
from evaluation.tracks._concepts import ConceptTrack
from ravel.instance import Instance

if TYPE_CHECKING:
    from das.engine.base.protocol import Engine
    from das.finding import FindingKind
    from evaluation.judging.detecting import DetectionJudge


class DetectionConfig(TrackConfig):
    """Settings of the track."""

    reading: Literal["site", "max_over_tokens"] = "site"
    """Where vectors are scored: at the site alone, or at every token of the prompt, of which the highest
    score counts, as in AxBench. What reads no vector is the same under both."""


class DetectionTrack(ConceptTrack[Detection]):
    """Ranking and recognition of values by a score of a vector (AxBench, Wu et al. 2025, arXiv 2501.17148).

    Departures: a concept is a value of an attribute, present where the model itself says it, so that there is
    no judge; one vector per prompt, at the site, unless `reading` says the maximum over tokens; negatives are
    other entities under the same template, so that nothing but the entity tells them apart; hard negatives
    agree with the positive on the other attributes, as far as the facts allow.
    """

    name: ClassVar[str] = "detection"
    summary: ClassVar[str] = "The values of entities are told from a score of the vector; nothing is swapped"
    question: ClassVar[str] = "From which part of the hidden vector can the value of an attribute be told?"
    heading: ClassVar[str] = "Detection"
    praise: ClassVar[str] = "tells values best"
    unit: ClassVar[str] = "prompts"
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("auroc", "share of pairs of prompts, one with a value and one without, ranked right"),
        Measure("hard_auroc", "the same among prompts that agree on the most other attributes"),
        Measure("balanced_accuracy", "mean of the shares of prompts with and without a value told right"),
        Measure("f1", "F1 where half of the prompts have the value"),
        Measure("rare_f1", "F1 where one in a hundred has it"),
    )
    criterion: ClassVar[str] = "auroc"
    references: ClassVar[tuple[Reference, ...]] = (
        Reference("no_op", "reads nothing", verdict="reading nothing scores"),
        Reference("random_direction", "reads a random direction", verdict="a random direction"),
        Reference("bow", "reads the words around the name and no vector", verdict="the words of the prompt"),
    )
    baseline: ClassVar[str] = "no_op"
    nothing_scores: ClassVar[float | None] = 0.5
    outcome: ClassVar[type[Detection]] = Detection
    validated_by: ClassVar[str] = "prompts"
    config_class: ClassVar[type[DetectionConfig]] = DetectionConfig
    takes: ClassVar[tuple[FindingKind, ...]] = ("featurizer", "detector")

    def judge(self, engine: Engine, judging: Judging) -> DetectionJudge:
        """Return what tells values with this engine."""
        from evaluation.judging.detecting import DetectionJudge

        reading = self.settings(judging).reading
        return DetectionJudge(engine, over_tokens=reading == "max_over_tokens")

    def cases(self, instance: Instance, split: str) -> Sequence[DetectedCase]:
        """Return the split's prompts of attributes that have concepts."""
        return detected_cases(instance, split)

    def estimate(
        self, outcomes: Sequence[Detection], attribute: str, clusters: Clusters
    ) -> dict[str, Estimate]:
        """Return each measure, a mean over templates, then values."""
        return estimate_detection(outcomes, attribute, clusters)


TRACK = DetectionTrack()
