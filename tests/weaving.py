"""Parameters of laws that hold along several axes: each value daily, every combination in the long tests."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest

__all__ = ["woven"]


def woven(
    names: str, *axes: Sequence[Any], turn: int = 0, indirect: Sequence[str] = ()
) -> pytest.MarkDecorator:
    """Parametrize a test by the product of the axes, of which a few rows run daily and the rest is `long`.

    Each value of the first axis meets one combination of the others, the next value the next combination, and
    no combination is left out. `turn` shifts that, so that laws differ in which combination a value meets.
    """
    first, combinations = list(axes[0]), list(product(*axes[1:]))
    count = max(len(first), len(combinations))
    daily = {(i % len(first), (i + turn) % len(combinations)) for i in range(count)}
    rows = [
        pytest.param(value, *others, marks=() if (i, j) in daily else pytest.mark.long)
        for i, value in enumerate(first)
        for j, others in enumerate(combinations)
    ]
    return pytest.mark.parametrize(names, rows, indirect=list(indirect))
