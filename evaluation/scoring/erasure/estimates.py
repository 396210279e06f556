"""What the outcomes of erasure come to for one attribute: forget, keep, isolate and their harmonic mean, with
where their uncertainty comes from; and which strength validation outcomes choose. It runs no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from evaluation.records.outcomes.erasures import Erasure
from evaluation.scoring.clusters import Clusters
from evaluation.scoring.intervals import Estimate
from evaluation.scoring.steering.harmonic import (
    estimates_with_overall,
    harmonic_mean,
    mean_part,
    place_for_each_value,
)

MEASURES = ("forget", "keep", "isolate", "overall")
"""In the order of tables."""
_PARTS = MEASURES[:-1]


def part_of(outcome: Erasure) -> str:
    """Return to which measure an outcome counts."""
    if outcome.attribute != outcome.target:
        return "isolate"
    return "forget" if outcome.has else "keep"


def estimate_erasure(outcomes: Sequence[Erasure], attribute: str, clusters: Clusters) -> dict[str, Estimate]:
    """Score one attribute at the chosen strengths. Forget is the share of its prompts, of entities with the
    erased value, whose answer is no longer the model's own; keep that of entities without it whose answer
    still is; isolate the same of prompts that ask for other attributes, of entities with it. Each is a mean
    over templates, then attributes. Raises SuiteError for an outcome of another cluster."""
    own = [outcome for outcome in outcomes if outcome.target == attribute and outcome.strengths]
    parts = {}
    for name in _PARTS:
        counted = [outcome for outcome in own if part_of(outcome) == name]
        right = [float(o.said_unchanged[o.chosen] != (name == "forget")) for o in counted]
        parts[name] = mean_part(counted, right, clusters)
    return estimates_with_overall(parts)


def chosen_strengths(outcomes: Sequence[Erasure]) -> Mapping[str, int]:
    """Return for each value which of the strengths has the best overall on validation outcomes, as in
    steering."""
    return place_for_each_value(outcomes, _best_strength)


def _best_strength(outcomes: Sequence[Erasure]) -> int | None:
    by_part = {name: [o for o in outcomes if part_of(o) == name] for name in _PARTS}
    if not all(by_part.values()):
        return None
    shares = [
        np.mean([[said != (name == "forget") for said in o.said_unchanged] for o in own], axis=0)
        for name, own in by_part.items()
    ]
    return int(np.argmax([harmonic_mean(point) for point in np.array(shares).T.tolist()]))
