"""What a diagnosis says, as typed values with a file form; it computes nothing and knows no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ravel.common.errors import SuiteError
from ravel.common.io import read_json, write_json
from ravel.common.typed import Record, check_version
from ravel.terms.schema import Generalisation, Partition

DIAGNOSIS_SCHEMA_VERSION = 1
DIAGNOSTICS = "diagnostics.json"
"""Name of the diagnoses in the folder of a run's cell."""
CheckResult = Literal["passed", "failed", "not applicable"]
_PARTS = ("patches", "measures", "checks")
"""Fields of a diagnosis that hold records of their own."""


class _Part(Record):
    __slots__ = ()
    MEND = "remove the file and diagnose again"


@dataclass(frozen=True, slots=True)
class PatchScore(_Part):
    """What one patch does on the pairs of a diagnosis. No number stands without its pairs; None has a
    reason."""

    name: str
    """What is patched: `full`, `row`, `null_unnormalised`, `random`, ..."""
    about: str
    """The reader the part is taken against, or the site that is patched; empty where neither applies."""
    size: int | None
    """Number of directions that are written; None where nothing was patched."""
    cause: float | None
    """Share of the target attribute's pairs that gave the source's answer, macro over templates."""
    isolate: float | None
    """Share of the other attributes' pairs that kept the base's answer."""
    disentangle: float | None
    """Mean of both."""
    fldd: float | None
    """Fractional logit-difference decrease, 1 - mean(LD patched) / mean(LD base), with LD the logit of the
    base's answer minus that of the source's, over cause pairs. 1: both are as likely; about 2: turned
    round."""
    reach: float | None
    """How far the mean logit difference came on its way to that of natural runs of the source's entity under
    the base's prompt: 0 not at all, 1 all the way."""
    reason: str = ""
    """Why there is no number; empty where there is."""


@dataclass(frozen=True, slots=True)
class Measure(_Part):
    """One number about the subspace or its patched states."""

    name: str
    """As in the documentation: `variance_share`, `hidden_pathway`, ..."""
    value: float | None
    """None exactly where `reason` says why."""
    detail: str
    """What it is to be compared with, in words; may be empty."""
    reason: str = ""
    """Why there is no value; empty where there is one."""


@dataclass(frozen=True, slots=True)
class Check(_Part):
    """A value held against a threshold. Thresholds are conventions, not theorems."""

    name: str
    """As in the documentation: `null_part`, `overshoot`, ..."""
    value: float | None
    """What was found; None where the check does not apply."""
    threshold: float
    """Where failing begins."""
    sense: Literal["at least", "at most"]
    """On which side of the threshold a value passes."""
    result: CheckResult
    """`passed`, `failed` or `not applicable`."""
    words: str
    """The finding as the verdict says it."""
    reason: str = ""
    """Why the check does not apply; empty where it does."""


@dataclass(frozen=True, slots=True)
class Diagnosis(_Part):
    """What was found about one featurizer for one target attribute at its site."""

    method: str
    """The method that made the featurizer."""
    attribute: str
    """The target attribute."""
    entity_type: str
    """As in the instance."""
    model: str
    """Name of the target model."""
    site: str
    """As `Site` writes itself."""
    size: int
    """Dimension of the subspace."""
    width: int
    """Length of the vectors at the site."""
    seed: int
    """Seed of the fit."""
    generalisation: Generalisation
    """What is held out of the pairs."""
    partition: Partition
    """`val` or `test`."""
    n_cause: int
    """Number of cause pairs."""
    n_isolate: int
    """Number of isolate pairs."""
    settings: Mapping[str, Any]
    """Limits, draws and seed of the diagnosis."""
    normalisation: str
    """How row and null parts were made: which of the two conventions the checks read."""
    patches: tuple[PatchScore, ...]
    """What each patch does."""
    measures: tuple[Measure, ...]
    """Numbers that need no answer."""
    checks: tuple[Check, ...]
    """What the verdict counts."""
    verdict: str
    """One line: how many checks were passed, and which were failed."""

    def patch(self, name: str, about: str | None = None) -> PatchScore | None:
        """Return the first patch of this name (and reader or site), or None."""
        found = (p for p in self.patches if p.name == name and about in (None, p.about))
        return next(found, None)

    def measure(self, name: str) -> Measure | None:
        """Return the measure of this name, or None."""
        return next((found for found in self.measures if found.name == name), None)

    def check(self, name: str) -> Check | None:
        """Return the check of this name, or None."""
        return next((found for found in self.checks if found.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """Return the diagnosis as plain values."""
        parts = {name: [part.to_json() for part in getattr(self, name)] for name in _PARTS}
        values = {**_Part.to_json(self), "settings": dict(self.settings), **parts}
        return {"schema_version": DIAGNOSIS_SCHEMA_VERSION, **values}

    @classmethod
    def from_json(cls, row: Any, *, origin: str) -> Diagnosis:
        """Read a diagnosis. Raises SuiteError naming `origin` for missing or unknown fields, a number that is
        not finite, or a newer schema."""
        values = cls.values_in(_versioned(row, origin), origin=origin, but=_PARTS)
        for name in _PARTS:
            if not isinstance(values[name], list):
                raise _unfit(origin, f"{name} that are no list")
        parts = {
            "patches": tuple(PatchScore.from_json(found, origin=origin) for found in values["patches"]),
            "measures": tuple(Measure.from_json(found, origin=origin) for found in values["measures"]),
            "checks": tuple(Check.from_json(found, origin=origin) for found in values["checks"]),
        }
        return cls(**{**values, **parts})


@dataclass(frozen=True, slots=True)
class Undiagnosed(_Part):
    """A target attribute of a cell that no diagnosis applies to."""

    attribute: str
    """The target attribute."""
    reason: str
    """Why."""


@dataclass(frozen=True, slots=True)
class CellDiagnoses:
    """`diagnostics.json` of a cell: a diagnosis per target attribute that the cell was chosen for."""

    diagnoses: tuple[Diagnosis, ...]
    """Those that could be made."""
    undiagnosed: tuple[Undiagnosed, ...] = ()
    """Those that could not."""

    def each(self) -> tuple[Diagnosis | Undiagnosed, ...]:
        """Return both kinds, diagnoses first."""
        return (*self.diagnoses, *self.undiagnosed)


def write_diagnosis(path: Path, diagnosis: Diagnosis) -> None:
    """Write one diagnosis as JSON, wholly or not at all."""
    write_json(path, diagnosis.to_json())


def read_diagnosis(path: Path) -> Diagnosis:
    """Read what `write_diagnosis` wrote. Raises SuiteError for anything else."""
    return Diagnosis.from_json(read_json(path), origin=str(path))


def write_cell_diagnoses(path: Path, found: CellDiagnoses) -> None:
    """Write the diagnoses of a cell as JSON, wholly or not at all."""
    content = {
        "schema_version": DIAGNOSIS_SCHEMA_VERSION,
        "diagnoses": [diagnosis.to_json() for diagnosis in found.diagnoses],
        "undiagnosed": [refused.to_json() for refused in found.undiagnosed],
    }
    write_json(path, content)


def read_cell_diagnoses(path: Path) -> CellDiagnoses:
    """Read what `write_cell_diagnoses` wrote. Raises SuiteError for anything else."""
    origin = str(path)
    values = _versioned(read_json(path), origin)
    lists = [values.get("diagnoses"), values.get("undiagnosed")]
    if not all(isinstance(found, list) for found in lists):
        raise _unfit(origin, "no lists of diagnoses")
    return CellDiagnoses(
        tuple(Diagnosis.from_json(row, origin=origin) for row in values["diagnoses"]),
        tuple(Undiagnosed.from_json(row, origin=origin) for row in values["undiagnosed"]),
    )


def _versioned(row: Any, origin: str) -> dict[str, Any]:
    if not isinstance(row, dict) or "schema_version" not in row:
        raise _unfit(origin, "a file without a schema version")
    check_version(row["schema_version"], DIAGNOSIS_SCHEMA_VERSION, what="diagnostics", origin=origin)
    return {name: value for name, value in row.items() if name != "schema_version"}


def _unfit(origin: str, came: str) -> SuiteError:
    return SuiteError(
        expected=f"diagnostics as `ravel diagnose` writes them in {origin}",
        came=came,
        todo=_Part.MEND,
    )
