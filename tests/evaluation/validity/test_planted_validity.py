"""Rank correlations between score and truth, by hand and against SciPy; rows and pages of planted worlds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from das.featurizers.masked import MaskedBasis
from das.featurizers.subspace import Subspace
from evaluation.records.planted import (
    ILLUSION,
    PLANTED_SCHEMA_VERSION,
    TRUTH,
    PlantedRecord,
    write_planted,
)
from evaluation.validity.planted.text import planted_markdown
from evaluation.validity.planted.truth import nearness
from evaluation.validity.planted.validity import score_variants, spearman, validity
from ravel.common.errors import SuiteError


def row(method: str, similarity: float, cause: float, isolate: float, **changes: Any) -> PlantedRecord:
    record = PlantedRecord(
        schema_version=PLANTED_SCHEMA_VERSION,
        world="small-disjoint",
        layout="disjoint",
        rotated=True,
        method=method,
        setting="{}",
        attribute="Hue",
        asked=2,
        found=2,
        true=2,
        seed=0,
        generalisation="entity",
        cause=cause,
        isolate=isolate,
        by_kind={
            "same_attribute": (cause, isolate),
            "other_attribute": (isolate, cause),
            "attribute_free": (None, None),
        },
        similarity=similarity,
        largest_angle=10.0,
        mean_angle=5.0,
    )
    return replace(record, **changes)


ORDERED = [row(f"m{i}", i / 10, i / 10, 0.5) for i in range(6)]


def of_variant(records: list[PlantedRecord], variant: str) -> Any:
    return next(r for r in validity(records) if r.variant == variant)


class TestSpearman:
    def test_by_hand_with_a_tie(self) -> None:
        # Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: covariance 4.5 / sqrt(4.5 * 5).
        assert spearman([0.1, 0.3, 0.3, 0.9], [1, 2, 3, 4]) == pytest.approx(4.5 / (4.5 * 5) ** 0.5)

    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=40))
    def test_as_scipy_does(self, pairs: list[tuple[int, int]]) -> None:
        first, second = [a / 9 for a, _ in pairs], [b / 9 for _, b in pairs]
        found = spearman(first, second)
        if len(set(first)) == 1 or len(set(second)) == 1:
            assert found is None
        else:
            assert found == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-12)

    def test_too_few_values_have_none(self) -> None:
        assert spearman([1, 2], [1, 2]) is None


class TestValidity:
    def test_a_score_that_orders_as_the_truth_does(self) -> None:
        found = of_variant(ORDERED, "disentangle")
        assert found.rank_correlation == pytest.approx(1.0)
        assert found.pooled == pytest.approx(1.0)
        assert found.interval == pytest.approx((1.0, 1.0))
        assert (found.methods, found.fits) == (6, 6)

    def test_a_score_that_orders_the_other_way_round(self) -> None:
        found = of_variant([replace(r, similarity=1 - r.similarity) for r in ORDERED], "cause")
        assert found.rank_correlation == pytest.approx(-1.0)

    def test_a_score_that_never_varies_orders_nothing(self) -> None:
        found = of_variant(ORDERED, "isolate")
        assert found.rank_correlation is None
        assert found.interval is None

    def test_rows_that_no_method_found_do_not_count(self) -> None:
        extra = [row(TRUTH, 1.0, 0.0, 0.0), row(ILLUSION, 0.0, 1.0, 1.0)]
        assert validity([*ORDERED, *extra]) == validity(ORDERED)

    def test_targets_are_ordered_apart_and_averaged(self) -> None:
        # One target ordered rightly, one wrongly: 0 on average, whatever their levels.
        wrong = [replace(r, attribute="Shape", cause=0.6 - r.cause) for r in ORDERED]
        assert of_variant([*ORDERED, *wrong], "cause").rank_correlation == pytest.approx(0.0)

    def test_order_of_rows_changes_nothing(self) -> None:
        assert validity(ORDERED[::-1]) == validity(ORDERED)

    def test_kinds_without_pairs_have_no_fits(self) -> None:
        assert of_variant(ORDERED, "disentangle, attribute free sources").fits == 0

    def test_variants_by_hand(self) -> None:
        rows = [row("mdas", 0.9, 0.8, 0.4), row("random_subspace", 0.1, 0.1, 0.7)]
        found = {name: values[0] for name, values in score_variants(rows).items()}
        assert found["disentangle"] == pytest.approx(0.6)
        assert found["3/4 cause + 1/4 isolate"] == pytest.approx(0.7)
        assert found["1/4 cause + 3/4 isolate"] == pytest.approx(0.5)
        assert found["minimum of both"] == pytest.approx(0.4)
        assert found["product of both"] == pytest.approx(0.32)
        assert found["disentangle, attribute free sources"] is None
        assert found["above the floor"] == pytest.approx(0.6 - 0.4)

    def test_without_a_random_row_the_floor_is_doing_nothing(self) -> None:
        assert score_variants([row("mdas", 0.9, 0.8, 0.4)])["above the floor"][0] == pytest.approx(0.1)


class TestNearness:
    AXES = torch.eye(4, dtype=torch.float64)

    def test_the_truth_itself(self) -> None:
        near = nearness(Subspace(self.AXES[:, :2].float()), self.AXES[:, :2])
        assert (near.similarity, near.largest, near.found) == (1.0, 0.0, 2)

    def test_an_angle_by_hand(self) -> None:
        leaning = torch.tensor([[0.5**0.5], [0.0], [0.5**0.5], [0.0]])
        near = nearness(Subspace(leaning), self.AXES[:, :1])
        assert near.largest == pytest.approx(45.0, abs=1e-4)
        assert near.similarity == pytest.approx(0.5, abs=1e-6)

    def test_too_many_coordinates_are_less_alike(self) -> None:
        near = nearness(Subspace(self.AXES[:, :3].float()), self.AXES[:, :1])
        assert near.similarity == pytest.approx(1 / 3)
        assert near.largest == 0.0

    def test_nothing_found_is_like_nothing(self) -> None:
        near = nearness(MaskedBasis(torch.zeros(4)), self.AXES[:, :1])
        assert (near.found, near.similarity, near.largest, near.mean) == (0, 0.0, None, None)


def test_rows_come_back_from_their_file(tmp_path: Path) -> None:
    write_planted(tmp_path / "planted.jsonl", ORDERED)
    assert PlantedRecord.read(tmp_path / "planted.jsonl") == ORDERED


def test_rows_of_another_shape_are_refused(tmp_path: Path) -> None:
    (tmp_path / "planted.jsonl").write_text('{"schema_version": 1}\n')
    with pytest.raises(SuiteError, match="line 1"):
        PlantedRecord.read(tmp_path / "planted.jsonl")


def test_the_page_shows_angles_beside_scores() -> None:
    rows = [row("mdas", 0.975, 0.8, 0.4), row(TRUTH, 1.0, 1.0, 1.0, largest_angle=0.0)]
    page = planted_markdown(rows, validity([*rows, *ORDERED]))
    assert "| mdas | 2 (true) | 0.975 | 10.0 | 0.800 | 0.400 | 0.600 |" in page
    assert page.index("*truth*") < page.index("| mdas")
    assert "small-disjoint (disjoint, rotated), held out: entity" in page
    assert "nan" not in page.lower()
