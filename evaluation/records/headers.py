"""What `cell.json` and `environment.json` of a run state, what a fit cost among it, checked as they are read;
no layout, no fits, no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from das.passes import PassCount
from ravel.common.errors import SuiteError
from ravel.common.io import canonical_json, read_json, sha256_text
from ravel.common.typed import check_version, shown

SUITE_SCHEMA_VERSION = 1
"""Version of what a cell's header states, and part of its id."""
_TEXTS = ("method", "attribute", "site", "track", "model_fingerprint", "instance_fingerprint")
_MOST_PASSES = 2**53
_FINGERPRINTS = ("model_fingerprint", "instance_fingerprint")


@dataclass(frozen=True, slots=True)
class FitCost:
    """What a fit asked of the model."""

    own: PassCount
    """For itself."""
    shared: Mapping[str, PassCount] = field(default_factory=dict)
    """By key, for what it has in common with other fits."""

    @property
    def passes(self) -> int:
        """Passes of the fit, had it been the only one."""
        return self.own.passes + sum(one.passes for one in self.shared.values())

    def to_json(self) -> dict[str, Any]:
        """Return what the header of a cell states under `cost`."""
        shared = {key: _plain(one) for key, one in sorted(self.shared.items())}
        return {**_plain(self.own), **({"shared": shared} if shared else {})}


def cost_in(header: Mapping[str, Any]) -> FitCost | None:
    """Return what a cell's header, checked already, says of its cost; None for one of an earlier version."""
    stated = header.get("cost")
    if stated is None:
        return None
    return FitCost(_count(stated), {key: _count(one) for key, one in stated.get("shared", {}).items()})


def passes_together(costs: Iterable[FitCost | None]) -> int | None:
    """Return the passes of several fits, what they share counted once; None where one of them is unknown."""
    own, shared = 0, dict[str, PassCount]()
    for cost in costs:
        if cost is None:
            return None
        own += cost.own.passes
        shared.update(cost.shared)
    return own + sum(one.passes for one in shared.values())


def _plain(count: PassCount) -> dict[str, int]:
    return {"forward": count.forward, "back": count.back}


def _count(stated: Mapping[str, int]) -> PassCount:
    return PassCount(stated["forward"], stated["back"])


def read_cell_header(path: Path) -> dict[str, Any]:
    """Return what a `cell.json` states; what is not needed to read a cell may be absent.

    Raises SuiteError for a file that is no header, a field of another type and a newer schema.
    """
    stated = read_json(path)
    if not isinstance(stated, dict) or not isinstance(stated.get("cell"), str):
        raise _unfit(path, "a file that does not name a cell")
    if "suite_schema" in stated:
        check_version(stated["suite_schema"], SUITE_SCHEMA_VERSION, what="a cell", origin=str(path))
    for name in _TEXTS:
        if not isinstance(stated.get(name, ""), str):
            raise _unfit(path, f"{name} {shown(stated[name])}")
    if not isinstance(stated.get("refused"), (str, type(None))):
        raise _unfit(path, f"refused {shown(stated['refused'])}")
    if not _is_count(stated.get("swapped", 0)) or type(stated.get("seed", 0)) is not int:
        raise _unfit(path, f"swapped {shown(stated.get('swapped'))}, seed {shown(stated.get('seed'))}")
    _check_cost(stated.get("cost"), path)
    for name in ("config", "track_config"):
        if not isinstance(stated.get(name, {}), dict):
            raise _unfit(path, f"{name} {shown(stated[name])}")
    return stated


def cell_of(folder: Path) -> str:
    """Return the id by which records name the featurizer in a folder, checked already: that of its cell where
    it has one, or else the hash of what it is."""
    cell_file = folder / "cell.json"
    if cell_file.is_file():
        return str(read_json(cell_file)["cell"])
    return sha256_text(canonical_json(read_json(folder / "featurizer.json")))[:16]


def swapped_in(path: Path) -> int:
    """Return how many coordinates a finished cell swaps.

    Raises SuiteError as `read_cell_header` does, and for a header that does not say.
    """
    stated = read_cell_header(path)
    if "swapped" not in stated:
        raise _unfit(path, "a header without swapped")
    swapped: int = stated["swapped"]
    return swapped


def read_environment(path: Path) -> dict[str, Any]:
    """Return what an `environment.json` states: fingerprints, and a list of environments.

    Raises SuiteError for a file of another form.
    """
    stated = read_json(path)
    environments = stated.get("environments", []) if isinstance(stated, dict) else None
    if not isinstance(environments, list) or not all(isinstance(e, dict) for e in environments):
        raise _unfit(path, "a file without a list of environments")
    for name in _FINGERPRINTS:
        if not isinstance(stated.get(name, ""), str):
            raise _unfit(path, f"{name} {shown(stated[name])}")
    return {**stated, "environments": environments}


def _check_cost(stated: Any, path: Path) -> None:
    """Raise SuiteError for what no fit costs; None is what earlier versions say."""
    if stated is None:
        return
    shared = stated.get("shared", {}) if isinstance(stated, dict) else None
    counts = [stated, *shared.values()] if isinstance(shared, dict) else [None]
    for one in counts:
        stands = one if isinstance(one, dict) else {}
        if not all(_is_count(n) and n <= _MOST_PASSES for n in (stands.get("forward"), stands.get("back"))):
            raise _unfit(path, f"cost {shown(stated)}")


def _is_count(value: Any) -> TypeGuard[int]:
    return type(value) is int and value >= 0


def _unfit(path: Path, came: str) -> SuiteError:
    return SuiteError(
        expected=f"what a run of the suite writes in {path}",
        came=came,
        todo="restore the file from the run that wrote it, or remove its folder and run the suite again",
    )
