"""Splits and their partitions; places shared among partitions."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ravel.terms.partitions import SPLIT_PLANS, asked_together, share_out
from ravel.terms.schema import PARTITIONS, evaluation_splits


def test_the_plans_are_the_splits_of_the_schema() -> None:
    assert [plan.name for plan in SPLIT_PLANS] == ["train", *evaluation_splits()]
    assert not asked_together("val", "test")
    assert not asked_together("test", "val")


@given(st.integers(0, 60), st.lists(st.integers(0, 40), min_size=3, max_size=3))
@settings(deadline=None)
def test_places_are_shared_in_proportion(total: int, sizes: list[int]) -> None:
    by_partition = dict(zip(PARTITIONS, sizes, strict=True))
    shares = share_out(total, by_partition)
    members = sum(size > 0 for size in sizes)
    assert sum(shares.values()) == max(min(total, sum(sizes)), members)
    for name, size in by_partition.items():
        assert min(size, 1) <= shares[name] <= size
        if total >= 3 * members and size:
            assert abs(shares[name] - size * min(total, sum(sizes)) / sum(sizes)) <= 2


def test_halves_and_quarters_are_kept() -> None:
    assert share_out(12, {"train": 20, "val": 10, "test": 10}) == {"train": 6, "val": 3, "test": 3}
