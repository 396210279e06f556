"""Student's t for any number of degrees of freedom, whole or not; it knows no score and no cluster."""

from __future__ import annotations

import math
from statistics import NormalDist

__all__ = ["exceeded", "tail"]

_LARGE = 1e4
_NORMAL = NormalDist()


def tail(t: float, df: float) -> float:
    """Return the chance that a variable of Student's t with `df` degrees of freedom exceeds `t`.

    Half the regularised incomplete beta function at df / (df + t^2) with parameters df / 2 and 1 / 2.
    """
    if t < 0:
        return 1 - tail(-t, df)
    if math.isinf(t):
        return 0.0
    if df >= _LARGE:
        # To a relative 1e-6: Abramowitz & Stegun 26.7.8.
        like_normal = t * (1 - 1 / (4 * df)) / math.sqrt(1 + t * t / (2 * df))
        return math.erfc(like_normal / math.sqrt(2)) / 2
    return _incomplete_beta(df / 2, 0.5, df / (df + t * t), t * t / (df + t * t)) / 2


def exceeded(share: float, df: float) -> float:
    """Return the value that a variable of Student's t exceeds with chance `share`, above 0 and at most
    0.5."""
    normal = -_NORMAL.inv_cdf(share)
    if df >= _LARGE:
        return normal + (normal**3 + normal) / (4 * df)
    # The normal value lies below, and the tail is convex: Newton's steps come from one side.
    t = normal
    for _ in range(200):
        step = (tail(t, df) - share) / _density(t, df)
        t += step
        if abs(step) <= 1e-9 * t:
            break
    return t


def _density(t: float, df: float) -> float:
    front = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - math.log(df * math.pi) / 2
    return math.exp(front - (df + 1) / 2 * math.log1p(t * t / df))


def _incomplete_beta(a: float, b: float, x: float, rest: float) -> float:
    """I_x(a, b) with `rest` = 1 - x, from the side on which the continued fraction converges fast."""
    if x <= 0 or rest <= 0:
        return 0.0 if x <= 0 else 1.0
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(rest)
    )
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(a, b, x) / a
    return 1 - front * _fraction(b, a, rest) / b


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction 1 / (1 + d_1 / (1 + d_2 / ...)) of the incomplete beta function, from the
    back."""
    value = 1.0
    for m in range(20 + int(3 * math.sqrt(max(a, b))), 0, -1):
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        value = 1 + even / (1 + odd / value)
    return 1 / (1 - (a + b) * x / (a + 1) / value)
