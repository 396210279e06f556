"""What fits cost, as headers of cells state it in passes of the model; it counts nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

BACK = 2
"""Passes that a way back through the model counts as, beside the way there."""


@dataclass(frozen=True, slots=True)
class PassCount:
    """Pairs and prompts that the model was asked to read."""

    forward: int = 0
    """How many."""
    back: int = 0
    """Of how many the gradient was wanted."""

    @property
    def passes(self) -> int:
        """Passes that this comes to: one, and `BACK` more with a gradient."""
        return self.forward + BACK * self.back


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
