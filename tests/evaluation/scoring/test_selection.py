"""Selection chooses the best validation point, breaks ties as stated, and can't see a test record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from outcome_world import TRACK, score_record

from das.sites import Site
from evaluation.records.scores import ScoreRecord
from evaluation.scoring.selection import Point, choose_point, validation_score
from ravel.common.errors import SuiteError


def point(layer: int = 0, size: int | None = 8, setting: str = "{}") -> Point:
    return Point(Site(layer), size, setting)


def chosen(candidates: Mapping[Point, Sequence[ScoreRecord]], *, by: str = "disentangle") -> Point:
    return choose_point(candidates, TRACK, by=by)


def test_the_highest_mean_over_seeds_and_generalisations_wins() -> None:
    steady = [score_record(disentangle=0.7), score_record(disentangle=0.7, generalisation="entity", seed=1)]
    flashy = [score_record(disentangle=0.9), score_record(disentangle=0.4, generalisation="entity", seed=1)]
    assert chosen({point(1): flashy, point(2): steady}) == point(2)


def test_ties_go_to_the_smaller_size_then_to_the_lower_layer() -> None:
    same = [score_record(disentangle=0.7)]
    assert chosen({point(1, 16): same, point(5, 8): same, point(3, 8): same}) == point(3, 8)
    assert chosen({point(0, None, "b"): same, point(0, None, "a"): same}) == point(0, None, "a")


def test_a_ceiling_of_cause_is_chosen_by_cause() -> None:
    candidates = {
        point(1): [score_record(cause=0.9, disentangle=0.5)],
        point(2): [score_record(cause=0.6, disentangle=0.6)],
    }
    assert chosen(candidates, by="cause") == point(1)
    assert chosen(candidates) == point(2)


@pytest.mark.parametrize("n_candidates", [1, 2])
def test_a_test_record_is_refused(n_candidates: int) -> None:
    honest = {point(i): [score_record(disentangle=0.1)] for i in range(n_candidates - 1)}
    leak = {point(9): [score_record(), score_record(partition="test", disentangle=1.0)]}
    with pytest.raises(
        SuiteError, match="only validation records where a point is chosen; got a test record of mdas"
    ):
        chosen(honest | leak)
    with pytest.raises(SuiteError, match="only validation records"):
        validation_score(leak[point(9)], by="disentangle")


def test_points_without_scores_lose_and_a_lone_point_needs_none() -> None:
    empty = [score_record(disentangle=None)]
    assert chosen({point(0): empty, point(1): [score_record(disentangle=0.0)]}) == point(1)
    assert chosen({point(0): []}) == point(0)
    with pytest.raises(SuiteError, match="none for any of 2 candidates"):
        chosen({point(0): empty, point(1): []})
