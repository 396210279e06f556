"""One fit of a suite, and the id that all that determines its result gives it; it knows no config."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from das.sites import Site
from evaluation.records.scores import control_row
from ravel.common.io import canonical_json, sha256_text

CONTROL_SCHEMA_VERSION = 1
"""Goes into the ids of controlled cells; a change of what a control does raises it."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One fit: a method with its settings on one target attribute, site, size and seed."""

    cell_id: str
    """First 16 hexadecimal digits of the hash of all that determines the result."""
    method: str
    """As in the registry."""
    setting: str
    """The method's resolved config as canonical JSON."""
    attribute: str | None
    """The target; None if the featurizer is the same for all of them."""
    site: Site
    """Where the featurizer acts."""
    size: int | None
    """Number of coordinates asked for; None if it follows from the method."""
    seed: int
    """Root of the fit's random streams."""
    control: str | None = None
    """The control under which it is fitted and judged; None for a cell of the grid."""

    def serves(self, attribute: str) -> bool:
        """Tell whether this cell's outcomes score this target."""
        return self.attribute is None or self.attribute == attribute

    def stated(self) -> dict[str, Any]:
        """Return what was asked for as files state it, `*` for what follows from the method."""
        return {
            "method": self.method,
            "config": json.loads(self.setting),
            "attribute": self.attribute or "*",
            "site": str(self.site),
            "size": "*" if self.size is None else self.size,
            "seed": self.seed,
        }

    def label(self) -> str:
        """Name the cell for people."""
        size = "" if self.size is None else f" size {self.size}"
        name = self.method if self.control is None else control_row(self.method, self.control)
        return f"{name} {self.attribute or 'every attribute'} {self.site}{size} seed {self.seed}"


ChosenCells = Mapping[tuple[str, str], Sequence[Cell]]
"""The chosen cells by (method, attribute), one per seed."""


def control_cell(cell: Cell, control: str) -> Cell:
    """Return the cell of a control on a cell of the grid, with an id of its own that follows from the
    latter's, which holds the seed."""
    parts = {"control_schema": CONTROL_SCHEMA_VERSION, "control": control, "controlled": cell.cell_id}
    return replace(cell, cell_id=id_of(parts), control=control)


def id_of(parts: Mapping[str, Any]) -> str:
    """Return the id of a cell whose result is determined by `parts`."""
    return sha256_text(canonical_json(dict(parts)))[:16]
