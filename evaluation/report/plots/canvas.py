"""Figures, their settings and their files; the only module that imports matplotlib, and it knows no record.

Figures are made without pyplot, so that no back-end is chosen for the whole process, and equal drawings give
equal files.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ravel.common.io import write_bytes

__all__ = ["COLUMN", "PAGE", "drawing", "new_figure", "saved"]

COLUMN, PAGE = 3.4, 7.0
"""Widths of figures in inches: one column of a paper, and both."""
_SETTINGS = {
    # Fixed ids in place of random ones, and text kept as text.
    "svg.hashsalt": "ravel-bench",
    "svg.fonttype": "none",
    "font.size": 7.0,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "figure.titlesize": 8.5,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.0,
}
_DPI = 220


@contextmanager
def drawing() -> Iterator[None]:
    """Use the suite's settings inside the block, for making and for saving figures; the process keeps its
    own."""
    with mpl.rc_context(_SETTINGS):
        yield


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of this size in inches, whose parts make room for each other."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def saved(figure: Any, stem: Path) -> list[Path]:
    """Write `<stem>.png` and `<stem>.svg`; return the paths."""
    paths = []
    metadata: dict[str, dict[str, None]] = {"png": {}, "svg": {"Date": None}}
    for suffix, fixed in metadata.items():
        content = io.BytesIO()
        figure.savefig(content, format=suffix, dpi=_DPI, metadata=fixed)
        path = stem.with_name(f"{stem.name}.{suffix}")
        write_bytes(path, content.getvalue())
        # Making room takes most of the time; the second file keeps the places found for the first.
        figure.set_layout_engine("none")
        paths.append(path)
    return paths
