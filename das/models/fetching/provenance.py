"""Where a fetched model's weights come from, as a file beside them; it knows no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ravel.common.errors import SuiteError
from ravel.common.io import read_json, write_json

__all__ = ["PROVENANCE", "Provenance", "provenance_of"]

PROVENANCE = "ravel-provenance.json"
"""Name of the file in a model's folder."""
_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What the weights of a folder were made of."""

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

    def write(self, folder: Path) -> None:
        """Write the file in `folder`."""
        write_json(folder / PROVENANCE, {"version": _VERSION, **asdict(self)})

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
    said = read_json(path)
    try:
        if said.pop("version") != _VERSION:
            raise ValueError("another version")
        return Provenance(**said)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SuiteError(
            expected=f"the origin of a model in {path}",
            came=" ".join(str(error).split())[:160] or type(error).__name__,
            todo="fetch the model anew with ravel model fetch",
        ) from None
