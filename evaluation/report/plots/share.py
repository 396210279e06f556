"""The figure of a share: how likely each share is, and how truly known shares are recovered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.report.plots.canvas import PAGE, drawing, new_figure, saved
from evaluation.scoring.population.estimate import ShareEstimate
from evaluation.scoring.population.held_out import Recovered
from evaluation.scoring.population.mixture import Mixture

_POINTS = 401
_HEIGHT = 2.6


def draw_share(
    stem: Path, recovered: Sequence[Recovered], found: tuple[ShareEstimate, Mixture] | None
) -> list[Path]:
    """Draw the recovered shares against the true ones and, if there is an estimate, how likely each share
    is; return the files."""
    with drawing():
        figure = new_figure(PAGE if found else PAGE / 2, _HEIGHT)
        panels = np.atleast_1d(figure.subplots(1, 2 if found else 1))
        _draw_recovered(panels[-1], recovered)
        if found:
            _draw_likelihood(panels[0], *found)
        return saved(figure, stem)


def _draw_likelihood(axes: Any, estimate: ShareEstimate, mixture: Mixture) -> None:
    shares = np.linspace(0, 1, _POINTS)
    values = np.array([mixture.log_likelihood(float(share)) for share in shares])
    axes.plot(shares, values - values.max(), color="black")
    if estimate.share is not None:
        axes.axvline(estimate.share, color="tab:red", label=f"estimate {estimate.share:.3f}")
    intervals = (("by sentence", estimate.by_sentence), ("by document", estimate.by_document))
    for (name, interval), shade in zip(intervals, ("tab:blue", "tab:orange"), strict=True):
        if interval is not None:
            axes.axvspan(*interval, alpha=0.3, color=shade, label=f"95 % {name}")
    axes.set_ylim(-25, 2)
    axes.set_xlabel("share of the other kind")
    axes.set_ylabel("log likelihood below its best")
    axes.legend()


def _draw_recovered(axes: Any, recovered: Sequence[Recovered]) -> None:
    true = [one.true for one in recovered]
    low, high = zip(*(np.percentile(one.estimates, (2.5, 97.5)) for one in recovered), strict=True)
    means = [one.mean for one in recovered]
    errors = [np.maximum(0, np.subtract(means, low)), np.maximum(0, np.subtract(high, means))]
    ends = (0.0, max(true))
    axes.plot(ends, ends, color="grey", linewidth=0.8, label="as it should be")
    axes.errorbar(true, means, errors, fmt="o", capsize=2, markersize=3, label="held-out mixtures, 95 %")
    axes.set_xlabel("true share")
    axes.set_ylabel("recovered share")
    axes.legend()
