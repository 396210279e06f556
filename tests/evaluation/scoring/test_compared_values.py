"""What a choice is made by are the values that records hold, without what only intervals come from."""

from __future__ import annotations

import pytest
from outcome_world import TRACK, rectangle

from evaluation.scoring.clusters import clusters_of
from evaluation.scoring.interchange.metrics import REFERENCE_METRIC


@pytest.mark.parametrize("metric", ["v1", REFERENCE_METRIC])
@pytest.mark.parametrize("target", ["A", "C", "Z"])
def test_what_is_compared_is_what_is_estimated(target: str, metric: str) -> None:
    said = ("swapped", "unchanged", "neither")
    outcomes = rectangle(lambda a, t, e: said[sum(map(ord, a + t + e)) % 3])
    track, clusters = TRACK.under(metric), clusters_of(outcomes)
    compared = track.compare(outcomes, target, clusters)
    estimated = track.estimate(outcomes, target, clusters)
    assert list(compared) == list(estimated)
    for name, one in compared.items():
        assert (one.value, one.n, one.spread) == (estimated[name].value, estimated[name].n, None)
