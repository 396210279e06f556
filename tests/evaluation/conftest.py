"""What tests of runs share, each made once: a small world, and figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from cli_world import World, make_world

import evaluation.report.publish
from evaluation.report.plots import Format, PlotInputs, write_plots
from ravel.common.io import write_bytes


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A miniature model, data and an instance as folders; leave them unchanged."""
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True, scope="session")
def _figures_drawn_once() -> Iterator[None]:
    """Draw the figures of equal records once, for drawing is half the time of a small run.

    That equal records give equal figures is tested on `write_plots` itself.
    """
    known: dict[str, tuple[list[str], dict[str, bytes]]] = {}

    def written(
        inputs: PlotInputs, place: Path, names: Sequence[str] | None, formats: Sequence[Format]
    ) -> list[Path]:
        key = repr((inputs, names, formats))
        if key not in known:
            paths = write_plots(inputs, place, names, formats)
            captions = {path.with_suffix(".txt") for path in paths}
            files = [path for path in (*paths, *captions) if path.is_file()]
            known[key] = [path.name for path in paths], {path.name: path.read_bytes() for path in files}
            return paths
        names_of, contents = known[key]
        for name, content in contents.items():
            write_bytes(place / name, content)
        return [place / name for name in names_of]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation.report.publish, "write_plots", written)
        yield
