"""All figures of a run, from values in memory; which there are and how their files are called."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from evaluation.records.measured import INTERCHANGE
from evaluation.records.scores import AverageRecord, ScoreRecord
from evaluation.report.common.families import by_family
from evaluation.report.plots.canvas import FORMATS, Format
from evaluation.report.plots.curves import place_of, validation_records
from evaluation.report.plots.layers import plot_layer_grid
from evaluation.report.plots.matrices import plot_angles, plot_entanglement
from evaluation.report.plots.points import plot_cause_isolate
from evaluation.report.plots.sizes import plot_size_grid
from evaluation.report.plots.style import slug
from evaluation.report.plots.training import TrainingLog, plot_training, trained
from evaluation.tracks import TRACKS
from ravel.common.errors import one_of
from ravel.terms.schema import GENERALISATIONS

if TYPE_CHECKING:
    from evaluation.records.overlaps import AngleRecord, EntanglementRecord
    from evaluation.scoring.track import Track
    from ravel.checking.dependence import Dependence


def _interchange() -> Track[Any]:
    return TRACKS.get(INTERCHANGE)


@dataclass(frozen=True, slots=True)
class PlotInputs:
    """What figures are drawn from."""

    scores: Sequence[ScoreRecord] = ()
    """All score records of the run."""
    averages: Sequence[AverageRecord] = ()
    """All average records of the run."""
    entanglement: Sequence[EntanglementRecord] = ()
    """Of the chosen cells on test pairs."""
    angles: Sequence[AngleRecord] = ()
    """Between the chosen cells of each method."""
    logs: Sequence[TrainingLog] = ()
    """Of the chosen cells."""
    dependence: Sequence[Dependence] = ()
    """Between the attributes in the world, to be seen beside `entanglement`."""
    track: Track[Any] = field(default_factory=_interchange)
    """The track that the records are of."""


def write_plots(
    inputs: PlotInputs,
    folder: Path,
    names: Sequence[str] | None = None,
    formats: Sequence[Format] = FORMATS,
) -> list[Path]:
    """Draw the figures of these names, by default all of `PLOTS`, in each of the formats, with their captions
    as text; return the paths of the figures.

    What the track has not, and what there are no records for, is left out: layers and sizes need two of them,
    angles two parts at one site. Raises SuiteError for an unknown name.
    """
    wanted = list(PLOTS) if names is None else names
    for name in wanted:
        one_of("plot", name, PLOTS)
    return [
        path for name in wanted if name in inputs.track.plots for path in PLOTS[name](inputs, folder, formats)
    ]


def _methods(inputs: PlotInputs, folder: Path, formats: Sequence[Format]) -> list[Path]:
    paths = []
    for partition, suffix in (("test", ""), ("val", "_val")):
        wanted = [
            r for r in inputs.averages if (r.scope, r.partition, r.source_kind) == ("macro", partition, "all")
        ]
        # The figure of test pairs is there in any case: other files point to it.
        if wanted or partition == "test":
            paths += plot_cause_isolate(wanted, folder / f"cause_isolate{suffix}", formats=formats)
    return paths


def _sizes(inputs: PlotInputs, folder: Path, formats: Sequence[Format]) -> list[Path]:
    present = {r.generalisation for r in validation_records(inputs.scores) if r.chosen}
    return [
        path
        for generalisation in GENERALISATIONS
        if generalisation in present
        for path in plot_size_grid(
            inputs.scores, generalisation, folder / f"sizes_{generalisation}", formats=formats
        )
    ]


def _layers(inputs: PlotInputs, folder: Path, formats: Sequence[Format]) -> list[Path]:
    sites: dict[str, set[str]] = {}
    for record in validation_records(inputs.scores):
        sites.setdefault(place_of(record.site), set()).add(record.site)
    return [
        path
        for place, found in sorted(sites.items())
        if len(found) > 1
        for path in plot_layer_grid(
            inputs.scores, place, folder / f"layers_{slug(place)}", inputs.track, formats=formats
        )
    ]


def _entanglement(inputs: PlotInputs, folder: Path, formats: Sequence[Format]) -> list[Path]:
    paths = []
    for generalisation in GENERALISATIONS:
        own = [r for r in inputs.entanglement if r.generalisation == generalisation]
        for family, methods in by_family((r.method for r in own), inputs.track.floors).items():
            records = [r for m in methods for r in own if r.method == m]
            stem = folder / f"entanglement_{generalisation}_{slug(family)}"
            paths += plot_entanglement(
                records, stem, family=family, dependence=inputs.dependence, formats=formats
            )
    return paths


def _angles(inputs: PlotInputs, folder: Path, formats: Sequence[Format]) -> list[Path]:
    paths = []
    for family, methods in by_family((r.method for r in inputs.angles), inputs.track.floors).items():
        records = [r for m in methods for r in inputs.angles if r.method == m]
        paths += plot_angles(records, folder / f"angles_{slug(family)}", family=family, formats=formats)
    return paths


def _training(inputs: PlotInputs, folder: Path, formats: Sequence[Format]) -> list[Path]:
    return plot_training(inputs.logs, folder / "training", formats=formats) if trained(inputs.logs) else []


PLOTS: Mapping[str, Callable[[PlotInputs, Path, Sequence[Format]], list[Path]]] = MappingProxyType(
    {
        "methods": _methods,
        "sizes": _sizes,
        "layers": _layers,
        "entanglement": _entanglement,
        "angles": _angles,
        "training": _training,
    }
)
"""Figures by the name of the command line's `--plot`."""
