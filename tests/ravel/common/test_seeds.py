"""What is alike comes together in order, and what is thinned out comes from all over."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ravel.common.seeds import evenly_spread, grouped


def test_groups_and_their_members_keep_their_order() -> None:
    assert list(grouped("baAcB", str.casefold).items()) == [
        ("b", ["b", "B"]),
        ("a", ["a", "A"]),
        ("c", ["c"]),
    ]


@pytest.mark.parametrize(("total", "most"), [(0, 3), (3, 3), (10, 3), (960, 1), (1001, 1000)])
def test_evenly_spread(total: int, most: int) -> None:
    found = evenly_spread(range(total), most)
    assert len(found) == len(set(found)) == min(total, most)
    assert all(0 <= position < total for position in found)
    gaps = {b - a for a, b in pairwise(found)}
    assert not gaps or max(gaps) - min(gaps) <= 1
