"""Interchange: put the source's part of a vector into the base's, and see what the model says; the first
track."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, ClassVar

from evaluation.config.judging import Judging
from evaluation.records.measured import FIRST_METRIC, INTERCHANGE
from evaluation.records.scores import Outcome
from evaluation.scoring.clusters import Clusters
from evaluation.scoring.interchange.estimates import count, estimate_scores, estimates_of, scores_of_counts
from evaluation.scoring.interchange.metrics import REFERENCE_METRIC, Rounding
from evaluation.scoring.intervals import Estimate
from evaluation.scoring.track import Measure, MetricVersion, Reference, Track
from ravel.instance import Instance
from ravel.terms.schema import SOURCE_KINDS, InterchangePair, SourceKind

if TYPE_CHECKING:
    from das.engine.base.protocol import Engine
    from evaluation.judging.judge import InterchangeJudge


class Interchange(Track[Outcome]):
    """Cause, isolate and disentangle of interchange pairs (RAVEL, Huang et al. 2024, arXiv 2402.17700)."""

    name: ClassVar[str] = INTERCHANGE
    summary: ClassVar[str] = "Swapped into another prompt, a part brings its attribute and leaves the others"
    question: ClassVar[str] = "Which part of the hidden vector carries each attribute, and only it?"
    heading: ClassVar[str] = "Disentanglement"
    praise: ClassVar[str] = "separates the attributes best"
    unit: ClassVar[str] = "pairs"
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("cause", "share of the target attribute's pairs that give the source's answer"),
        Measure("isolate", "share of the other attributes' pairs that keep the base's answer"),
        Measure("disentangle", "the mean of both"),
    )
    versions: ClassVar[tuple[MetricVersion, ...]] = (
        MetricVersion(FIRST_METRIC, "shares of pairs, a mean over templates, then attributes; unrounded"),
        MetricVersion(
            REFERENCE_METRIC,
            "the same with the share of each template rounded to two decimals, as RAVEL's public code has it",
        ),
    )
    criterion: ClassVar[str] = "disentangle"
    references: ClassVar[tuple[Reference, ...]] = (
        Reference("no_op", "swaps nothing", verdict="doing nothing scores"),
        Reference(
            "full_vector",
            "swaps the whole vector",
            verdict="swapping the whole vector",
            ceiling_of="cause",
        ),
        Reference("random_subspace", "swaps a random part", verdict="a random subspace"),
        Reference(
            "sae_reconstruction",
            "passes the base through an autoencoder and swaps nothing",
            added=False,
        ),
    )
    baseline: ClassVar[str] = "no_op"
    # Cause 0 and isolate 1.
    nothing_scores: ClassVar[float | None] = 0.5
    outcome: ClassVar[type[Outcome]] = Outcome
    validated_by: ClassVar[str] = "cause and isolate pairs"
    kinds: ClassVar[tuple[SourceKind, ...]] = SOURCE_KINDS
    tables: ClassVar[tuple[str, ...]] = (
        *("main", "attributes", "kinds", "balanced", "dependence", "controls", "necessity", "seeds"),
        *("sites", "types"),
    )
    plots: ClassVar[tuple[str, ...]] = ("methods", "sizes", "layers", "entanglement", "angles", "training")

    def judge(self, engine: Engine, judging: Judging) -> InterchangeJudge:
        """Return what judges interchanges with this engine."""
        from evaluation.judging.judge import InterchangeJudge

        return InterchangeJudge(engine, label_tokens=judging.label_tokens, tolerance=judging.tolerance)

    def cases(self, instance: Instance, split: str) -> Sequence[InterchangePair]:
        """Return the split's pairs."""
        return instance.pairs(split)

    def estimate(
        self, outcomes: Sequence[Outcome], attribute: str, clusters: Clusters
    ) -> dict[str, Estimate]:
        """Return cause, isolate and disentangle; the last has a value if there are pairs of both kinds."""
        return estimate_scores(outcomes, attribute, clusters, rounding=self._rounding)

    def compare(self, outcomes: Sequence[Outcome], attribute: str, clusters: Clusters) -> dict[str, Estimate]:
        """Return them without their spreads."""
        counts = count(outcomes, attribute, clusters)
        point = scores_of_counts(counts, attribute, clusters, self._rounding)
        return estimates_of(point, lambda _: None, attribute, ())

    @property
    def _rounding(self) -> Rounding:
        return "reference" if self.metric == REFERENCE_METRIC else "none"

    def can_validate(self, asked: Collection[str], attribute: str) -> bool:
        """Tell whether there are pairs that ask for the attribute, and others."""
        return attribute in asked and len(set(asked)) > 1


TRACK = Interchange()
