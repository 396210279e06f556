"""Where a fetched model's weights come from, as a file beside them; it knows no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from ravel.common.io import read_json, write_json
from ravel.common.typed import Record, check_version

PROVENANCE = "ravel-provenance.json"
"""Name of the file in a model's folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance(Record):
    """What the weights of a folder were made of."""

    MEND: ClassVar[str] = "fetch the model anew with ravel model fetch"
    """What to do about a damaged file."""

    source: str
    """The hub's repository, the packages of the index, or the file's name."""
    file: str
    """The file that the weights were read from."""
    sha256: str
    """Of that file."""
    quantisation: Mapping[str, int] = field(default_factory=dict)
    """How many tensors of the file had which type, such as Q4_1; empty where the file was not quantised."""
    licence: str
    """Its licence or terms, as far as they are known."""
    made_with: Mapping[str, str] = field(default_factory=dict)
    """Versions of the libraries that read the file."""
    version: int = 1
    """Version of the file's form."""

    def write(self, folder: Path) -> None:
        """Write the file in `folder`."""
        write_json(folder / PROVENANCE, self.to_json())

    def identity(self) -> Mapping[str, Any]:
        """Return what decides the numbers: the file's bytes and how its weights were stored, wherever it came
        from."""
        return {"gguf": self.sha256, "types": dict(self.quantisation)}


def provenance_of(folder: Path | None) -> Provenance | None:
    """Return what a model's folder says of its origin, or None where it says nothing. Raises SuiteError for a
    file that is damaged."""
    path = None if folder is None else folder / PROVENANCE
    if path is None or not path.is_file():
        return None
    said = Provenance.from_json(read_json(path), origin=str(path))
    check_version(said.version, 1, what="an origin", origin=str(path))
    return said
