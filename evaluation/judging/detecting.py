"""How clearly the scores of a detector, or of what a featurizer reads, tell the values of prompts; it knows
no target and no measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from das.detectors.base import Detector, VectorDetector
from das.detectors.reading import Reading
from das.detectors.tokens import maximum_over_tokens
from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.subspace import Subspace
from das.finding import Finding
from das.methods.common.concepts import has_tensor
from das.sites import Site
from evaluation.judging.known_vectors import KnownVectors
from evaluation.records.outcomes.detections import DetectedCase, Detection
from evaluation.scoring.detection.cases import detected_cases
from evaluation.scoring.detection.thresholds import youden_threshold
from ravel.common.errors import SuiteError
from ravel.instance import Instance
from ravel.terms.schema import TRAIN_SPLIT

_DIGITS = 7
"""Significant digits of a margin: what float32 holds."""


class DetectionJudge:
    """Tells values with one open model; training vectors of the last site are kept for all calls."""

    def __init__(self, engine: Engine, *, over_tokens: bool = False) -> None:
        self.engine = engine
        """Runs the model."""
        self.over_tokens = over_tokens
        """Whether what scores vectors is read at every token of a prompt, and its highest score counts."""
        self._known = KnownVectors(engine)

    def on(self, engine: Engine) -> DetectionJudge:
        """Return what judges by the same rules with another engine."""
        return self if engine is self.engine else DetectionJudge(engine, over_tokens=self.over_tokens)

    def judge(
        self,
        instance: Instance,
        split: str,
        site: Site,
        finding: Finding | None,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Detection]:
        """Return the margins of every case of a split, in their order. None reads nothing: every score is 0.
        Raises SuiteError for a withheld split, and a detector that doesn't know a value."""
        cases = detected_cases(instance, split)
        found: dict[str, tuple[float, ...]] = {}
        for attribute in dict.fromkeys(case.attribute for case in cases):
            own = [case for case in cases if case.attribute == attribute]
            detector = self._detector(instance, attribute, own[0].told, site, finding)
            if detector is not None:
                rows = self._margins(instance, split, own, site, detector)
                found |= {case.prompt_id: row for case, row in zip(own, rows, strict=True)}
            if progress is not None:
                progress(len(found), len(cases))
        return [_outcome(case, found.get(case.prompt_id, ())) for case in cases]

    def _detector(
        self, instance: Instance, attribute: str, told: Sequence[str], site: Site, finding: Finding | None
    ) -> Detector | None:
        if isinstance(finding, Detector):
            return finding.to("cpu") if finding.attribute == attribute else None
        width = self.engine.target.width(site)
        featurizer = Subspace(torch.zeros(width, 0)) if finding is None else finding.to("cpu")
        assert isinstance(featurizer, Featurizer), "the track takes featurizers and detectors"
        known = self._known.of(instance, attribute, site)
        return Reading(attribute, told, featurizer, known.vectors, has_tensor(known, told))

    def _margins(
        self,
        instance: Instance,
        split: str,
        cases: Sequence[DetectedCase],
        site: Site,
        detector: Detector,
    ) -> list[tuple[float, ...]]:
        scores = self._scores(instance, cases, site, detector)
        validated = self._validated(instance, split, cases)
        known = scores if validated is cases else self._scores(instance, validated, site, detector)
        has = np.array([[case.value == value for value in case.told] for case in validated])
        thresholds = [youden_threshold(known[:, i], has[:, i]) for i in range(has.shape[1])]
        return [tuple(map(_rounded, row)) for row in scores - np.array(thresholds)]

    def _validated(
        self, instance: Instance, split: str, cases: Sequence[DetectedCase]
    ) -> Sequence[DetectedCase]:
        """Return the cases by which thresholds are chosen: those of the validation split of the same kind, or
        of all of them where that has none of the attribute; where no split has, the training prompts."""
        wanted = split.removesuffix("_test") + "_val" if split.endswith("_test") else split
        if wanted == split:
            return cases
        others = [name for name in instance.splits() if name.endswith("_val")]
        for splits in ([wanted], others, [TRAIN_SPLIT]):
            found = [
                case
                for name in splits
                for case in detected_cases(instance, name)
                if case.attribute == cases[0].attribute
            ]
            if found:
                return found
        return cases

    def _scores(
        self, instance: Instance, cases: Sequence[DetectedCase], site: Site, detector: Detector
    ) -> NDArray[np.float64]:
        prompts = [instance.prompt(case.prompt_id).prompt for case in cases]
        places = _places(detector, cases[0].told)
        scores: Tensor
        if self.over_tokens and isinstance(detector, VectorDetector):
            scores = maximum_over_tokens(detector, prompts, self.engine, site)[:, places]
        else:
            scores = detector.scores(prompts, self.engine, site)[:, places]
        found: NDArray[np.float64] = scores.double().numpy()
        return found


def _places(detector: Detector, told: Sequence[str]) -> list[int]:
    missing = [value for value in told if value not in detector.values]
    if missing:
        raise SuiteError(
            expected=f"a detector of every value of {detector.attribute!r} that is told",
            came=f"one without {', '.join(missing)}",
            todo="find it again on this instance",
        )
    return [detector.values.index(value) for value in told]


def _outcome(case: DetectedCase, margins: tuple[float, ...]) -> Detection:
    return Detection(**Detection.case_fields(case), margins=margins)


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
