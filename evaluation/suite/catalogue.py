"""What can be named: methods, tracks, model families and controls, each as plain values for a listing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from das.methods.registry import METHODS
from das.models import FAMILIES
from evaluation.suite.controls import CONTROLS
from evaluation.tracks import TRACKS

if TYPE_CHECKING:
    from das.methods.common.base import Method


def method_lines() -> list[dict[str, str]]:
    """Return every method with name and summary only, for which no torch is loaded unless a plugin asks."""
    return METHODS.stated("summary")


def method_rows() -> list[dict[str, Any]]:
    """Return every method with name, summary, what it needs and learns from, and its settings' defaults."""
    return [
        {
            "name": method.name,
            "summary": method.summary,
            "needs_attribute": method.needs_attribute,
            "needs_size": method.needs_size,
            "needs_labels": method.needs_labels,
            "needs_pairs": method.needs_pairs,
            "learns_from": _learns_from(method),
            "fits_nonlinear_map": method.fits_nonlinear_map,
            "finds": method.finds,
            "settings": method.config_class().model_dump(mode="json"),
        }
        for method in METHODS
    ]


def _learns_from(method: type[Method]) -> str:
    parts = [("class labels", method.needs_labels), ("pairs", method.needs_pairs)]
    return " and ".join(name for name, needed in parts if needed) or "neither"


def model_rows() -> list[dict[str, Any]]:
    """Return every model family with the model types that it serves, without torch as `method_lines`."""
    return [row | {"model_types": list(row["model_types"])} for row in FAMILIES.stated("model_types")]


def control_lines() -> list[dict[str, str]]:
    """Return every control with name and summary only, without torch as `method_lines`."""
    return CONTROLS.stated("summary")


def control_rows() -> list[dict[str, Any]]:
    """Return every control with what it takes away, whether it fits again, and where its floors lie."""
    return [
        {
            "name": control.name,
            "summary": control.summary,
            "fits_again": control.refits,
            "floors": {view.name: view.floor_is for view in control.views},
        }
        for control in CONTROLS
    ]


def track_rows() -> list[dict[str, Any]]:
    """Return every track with what it measures, by what it chooses, its reference rows and its settings."""
    return [
        {
            "name": track.name,
            "summary": track.summary,
            "measures": list(track.names),
            "criterion": track.criterion,
            "metrics": {version.name: version.says for version in track.versions},
            "takes": list(track.takes),
            "references": list(track.floors),
            "settings": track.config_class().model_dump(mode="json"),
        }
        for track in TRACKS
    ]
