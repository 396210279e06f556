"""Figures, their settings and their files; the only module that imports matplotlib, and it knows no record.

Figures are made without pyplot, so that no back-end is chosen for the whole process, and equal drawings give
equal files.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from evaluation.report.plots.style import legend_below
from ravel.common.io import write_bytes, write_text

Format = Literal["png", "svg", "pdf"]
FORMATS: tuple[Format, ...] = ("png", "svg", "pdf")
"""What a figure is written as: pictures for pages and readers, and what papers take."""
COLUMN, PAGE = 3.4, 7.0
"""Widths of figures in inches: one column of a paper, and both."""
_SETTINGS = {
    # Fixed ids in place of random ones, and text kept as text.
    "svg.hashsalt": "ravel-bench",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "font.size": 7.0,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
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


def fit(
    figure: Any,
    panel: tuple[float, float],
    columns: int,
    rows: int,
    legend: Mapping[str, Any] | None = None,
) -> None:
    """Size the figure so that its panels have this width and height in inches and all text around them has
    room, with a legend under them; nothing moves afterwards.

    `figure` has panels in a grid of `columns` and `rows`, and is large enough for them.
    """
    # A panel that keeps its shape would hide from the layout what stands where it leaves room.
    aspects = [axes.get_aspect() for axes in figure.axes]
    for axes in figure.axes:
        axes.set_aspect("auto")
    layout = figure.get_layout_engine()
    layout.execute(figure)
    width, height = figure.get_size_inches()
    box = figure.axes[0].get_position(original=True)
    # What stands around panels takes the same room whatever their size.
    wide = width + columns * (panel[0] - box.width * width)
    figure.set_size_inches(wide, height + rows * (panel[1] - box.height * height))
    legend_below(figure, handles=legend or {})
    layout.execute(figure)
    figure.set_layout_engine("none")
    for axes, aspect in zip(figure.axes, aspects, strict=True):
        axes.set_aspect(aspect)
        axes.apply_aspect()


def saved(figure: Any, stem: Path, caption: str = "", formats: Sequence[Format] = FORMATS) -> list[Path]:
    """Write the figure as `<stem>.<format>`, and the caption, if there is one, as `<stem>.txt`; return the
    paths of the figures."""
    if figure.get_layout_engine() is not None:
        figure.get_layout_engine().execute(figure)
        figure.set_layout_engine("none")
    paths = []
    for suffix in formats:
        content = io.BytesIO()
        with _dots_per_inch(figure):
            _WRITERS[suffix](figure, content)
        path = stem.with_name(f"{stem.name}.{suffix}")
        write_bytes(path, content.getvalue())
        paths.append(path)
    if caption:
        write_text(stem.with_name(f"{stem.name}.txt"), f"{caption}\n")
    return paths


# `Figure.savefig` draws everything twice, first to place it; here all is placed already.
_WRITERS: Mapping[Format, Callable[[Any, io.BytesIO], None]] = {
    "png": lambda figure, content: FigureCanvasAgg(figure).print_png(content, metadata={}),
    "svg": lambda figure, content: FigureCanvasSVG(figure).print_svg(content, metadata={"Date": None}),
    "pdf": lambda figure, content: FigureCanvasPdf(figure).print_pdf(
        content, metadata={"CreationDate": None}
    ),
}


@contextmanager
def _dots_per_inch(figure: Any) -> Iterator[None]:
    """Let the figure have the resolution of files inside the block."""
    before = figure.dpi
    figure.dpi = _DPI
    try:
        yield
    finally:
        figure.dpi = before
