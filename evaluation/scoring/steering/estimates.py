"""What the outcomes of steering come to for one attribute: cause, isolate, fluency and their harmonic mean,
with where their uncertainty comes from; and which strength validation outcomes choose. It runs no model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from evaluation.records.outcomes.steerings import Steering
from evaluation.scoring.clusters import Clusters, FloatArray
from evaluation.scoring.intervals import Estimate
from evaluation.scoring.steering.harmonic import (
    estimates_with_overall,
    harmonic_mean,
    mean_part,
    place_for_each_value,
)

MEASURES = ("cause", "isolate", "fluency", "overall")
"""In the order of tables."""


def fluency_of(extra_nats: float) -> float:
    """Return `exp(-max(0, extra))`: 1 for an answer that costs the model no more than its own."""
    return math.exp(-max(0.0, extra_nats))


def estimate_steering(
    outcomes: Sequence[Steering], attribute: str, clusters: Clusters
) -> dict[str, Estimate]:
    """Score one steered attribute at the chosen strengths. Cause is a mean over templates of the attribute,
    isolate over templates, then the other attributes, fluency over templates, then all attributes. Raises
    SuiteError for an outcome of another cluster."""
    own = [outcome for outcome in outcomes if outcome.target == attribute and outcome.strengths]
    asking = [outcome for outcome in own if outcome.attribute == attribute]
    others = [outcome for outcome in own if outcome.attribute != attribute]
    return estimates_with_overall(
        {
            "cause": mean_part(asking, [float(o.said_value[o.chosen]) for o in asking], clusters),
            "isolate": mean_part(others, [float(o.said_unchanged[o.chosen]) for o in others], clusters),
            "fluency": mean_part(own, [fluency_of(o.extra_nats[o.chosen]) for o in own], clusters),
        }
    )


def chosen_strengths(outcomes: Sequence[Steering]) -> dict[str, int]:
    """Return for each value which of the strengths gives validation outcomes of it, all at the same
    strengths, the best overall; of several the smallest. Where a value lacks prompts of either kind, all
    values of the attribute together choose. Shares are over prompts, whatever their template."""
    return place_for_each_value(outcomes, _best_strength)


def _best_strength(outcomes: Sequence[Steering]) -> int | None:
    curve = strength_curve(outcomes)
    if not curve or any(point[name] is None for point in curve for name in MEASURES):
        return None
    overall = [point["overall"] or 0.0 for point in curve]
    return int(np.argmax(np.array(overall)))


def strength_curve(outcomes: Sequence[Steering]) -> list[Mapping[str, float | None]]:
    """Return cause, isolate, fluency and overall at each strength, as shares over prompts; None where there
    is no prompt of a kind."""
    strengths = outcomes[0].strengths if outcomes else ()
    caused = np.array([outcome.target == outcome.attribute for outcome in outcomes], dtype=bool)
    said = np.array([outcome.said_value for outcome in outcomes], dtype=np.float64)
    kept = np.array([outcome.said_unchanged for outcome in outcomes], dtype=np.float64)
    fluent = np.array([[fluency_of(nats) for nats in outcome.extra_nats] for outcome in outcomes])
    points: list[Mapping[str, float | None]] = []
    for place in range(len(strengths)):
        parts = (_mean(said[caused, place]), _mean(kept[~caused, place]), _mean(fluent[:, place]))
        known = [part for part in parts if part is not None]
        overall = harmonic_mean(known) if len(known) == len(parts) else None
        points.append(dict(zip(MEASURES, (*parts, overall), strict=True)))
    return points


def _mean(values: FloatArray) -> float | None:
    return float(values.mean()) if len(values) else None
