"""Training curves from the rows that fits logged; it knows no method's settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from evaluation.report.common.families import by_family
from evaluation.report.plots.canvas import FORMATS, Format, drawing, fit, new_figure, saved
from evaluation.report.plots.style import GRID, Style, handles_of, own_styles

_MEASURES = (
    ("loss", "loss"),
    ("cause_accuracy", "cause on validation"),
    ("isolate_accuracy", "isolate on validation"),
)
_PANEL = (1.75, 1.1)
_WINDOW = 10


@dataclass(frozen=True, slots=True)
class TrainingLog:
    """What one fit logged."""

    method: str
    """The method."""
    attribute: str
    """The target attribute; `*` where the fit knows none."""
    seed: int
    """Root of the fit's random streams."""
    rows: tuple[Mapping[str, Any], ...]
    """As in `train_log.jsonl`; rows with another `phase` than `train` and `validation` are passed over."""


def trained(logs: Sequence[TrainingLog]) -> list[TrainingLog]:
    """Return the logs of fits that took steps."""
    return [log for log in logs if any(row.get("phase") == "train" for row in log.rows)]


def smoothed(values: Sequence[float]) -> list[float]:
    """Return the means around each place over about a tenth of the curve, fewer at its ends; a short curve
    stays what it is."""
    reach = len(values) // (2 * _WINDOW)
    ends = [min(reach, at, len(values) - 1 - at) for at in range(len(values))]
    return [fmean(values[at - end : at + end + 1]) for at, end in enumerate(ends)]


def plot_training(
    logs: Sequence[TrainingLog], stem: Path, *, formats: Sequence[Format] = FORMATS
) -> list[Path]:
    """Draw loss, cause and isolate over the steps, a row per method and a colour per attribute; return the
    paths.

    Loss is that of training, on a logarithmic scale, smoothed over what was logged, which is drawn faintly;
    cause and isolate are shares of validation pairs, with a filled marker at the epoch that was kept. Further
    seeds are drawn thinly.
    """
    found = trained(logs)
    methods = [m for own in by_family([log.method for log in found], ()).values() for m in own]
    looks = own_styles(sorted({log.attribute for log in found}))
    with drawing():
        figure = new_figure((_PANEL[0] + 1) * 3, (_PANEL[1] + 0.6) * len(methods) + 1)
        for row, method in enumerate(methods):
            own = [log for log in found if log.method == method]
            for column, (measure, name) in enumerate(_MEASURES):
                axes = figure.add_subplot(len(methods), 3, 3 * row + column + 1)
                _panel(axes, own, measure, looks)
                axes.set_ylabel(name)
                # A long name may run on over the next panel, which has none.
                axes.set_title("" if column else method, loc="left")
                if row + 1 == len(methods):
                    axes.set_xlabel("step")
        fit(figure, _PANEL, 3, len(methods), handles_of(figure))
        return saved(
            figure,
            stem,
            "Training curves of the chosen fits. Loss is smoothed, with what was logged drawn faintly; a "
            "filled marker is the epoch that was kept; further seeds are thin.",
            formats,
        )


def _panel(axes: Any, logs: Sequence[TrainingLog], measure: str, looks: Mapping[str, Style]) -> None:
    drawn = [_line(axes, log, measure, looks[log.attribute], first=log.seed == logs[0].seed) for log in logs]
    axes.grid(**GRID)
    if measure == "loss":
        axes.set_yscale("log")
        # Labels between powers of ten crowd where a loss falls little.
        axes.yaxis.set_minor_formatter("")
    else:
        axes.set(ylim=(-0.05, 1.05), yticks=[0, 0.5, 1])
    if not any(drawn):
        axes.text(
            0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center", color="#767676"
        )
        axes.set_xticks([])


def _line(axes: Any, log: TrainingLog, measure: str, style: Style, *, first: bool) -> bool:
    phase = "train" if measure == "loss" else "validation"
    rows = [row for row in log.rows if row.get("phase") == phase and measure in row and "step" in row]
    steps, values = [row["step"] for row in rows], [row[measure] for row in rows]
    if measure == "loss":
        axes.plot(steps, values, color=style.colour, linewidth=0.4, alpha=0.35)
        values = smoothed(values)
    axes.plot(
        steps,
        values,
        color=style.colour,
        linestyle=style.line,
        linewidth=1.1 if first else 0.5,
        marker="" if measure == "loss" else style.marker,
        markerfacecolor="white",
        markersize=4 if first else 2.5,
        label=log.attribute if first else None,
    )
    kept = [row for row in rows if row.get("kept")][-1:]
    axes.plot(
        [row["step"] for row in kept],
        [row[measure] for row in kept],
        color=style.colour,
        linestyle="none",
        marker=style.marker,
        markersize=4.5,
    )
    return bool(rows)
