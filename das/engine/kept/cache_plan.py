"""What keeping every state would take, what may be taken, and what follows; no model is run here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from das.models.base import TargetModel
from das.models.configs import number_in
from das.sites import Position, Site
from ravel.common.sizes import written_bytes

Placement = Literal["memory", "spill", "recompute"]
"""Where states are kept: all in memory; what does not fit in a folder; what does not fit is made again."""
_NAMED = 8
"""Sites that the plan's paragraph names."""
_SOURCE_BYTES = 4
"""Bytes of a number of a source vector; they are kept in float32."""


@dataclass(frozen=True, slots=True)
class CacheShape:
    """As much of a model as memory depends on."""

    layers: int
    """Number of blocks."""
    width: int
    """Width of the residual stream."""
    kv_width: int
    """Width of all keys of a token in one block, and of all values: their heads times the length of one."""
    bytes_each: int
    """Bytes of a number in the model's dtype."""

    def prefix_bytes(self, first_block: int) -> int:
        """Return the bytes of a token before a site: its keys and values in `first_block` and above."""
        return 2 * max(0, self.layers - first_block) * self.kv_width * self.bytes_each

    @property
    def suffix_bytes(self) -> int:
        """Bytes of a token from a site on: its residual stream."""
        return self.width * self.bytes_each


def shape_of(target: TargetModel) -> CacheShape:
    """Return the shape of a loaded model, read from its config and dtype."""
    kv_heads = number_in(target.config, "num_key_value_heads") or target.n_heads
    return CacheShape(
        layers=target.n_layers,
        width=target.d_model,
        kv_width=kv_heads * target.head_width,
        bytes_each=target.dtype.itemsize,
    )


def first_block(site: Site) -> int:
    """Return the first block that an interchange at the site can change."""
    return site.layer + 1 if site.stream == "block_output" else site.layer


@dataclass(frozen=True, slots=True)
class StateCounts:
    """How many different states there are at sites of one position."""

    prefixes: int
    """Different beginnings of rows, up to the site."""
    prefix_tokens: int
    """Their tokens, all together."""
    suffixes: int
    """Different rows: a base prompt with a label forced."""
    suffix_tokens: int
    """Their tokens from the site on, all together."""
    sources: int
    """Different source prompts."""


@dataclass(frozen=True, slots=True)
class SiteStates:
    """What the states of one site take, in bytes."""

    site: Site
    """The site."""
    prefixes: int
    """Keys and values before the site."""
    suffixes: int
    """Residual streams from the site on."""
    sources: int
    """Source vectors."""

    @property
    def total(self) -> int:
        """Prefixes and suffixes: what the limit of kept states is about."""
        return self.prefixes + self.suffixes


def site_states(site: Site, counts: StateCounts, shape: CacheShape) -> SiteStates:
    """Return what the states of a site take."""
    return SiteStates(
        site=site,
        prefixes=counts.prefix_tokens * shape.prefix_bytes(first_block(site)),
        suffixes=counts.suffix_tokens * shape.suffix_bytes,
        sources=counts.sources * shape.width * _SOURCE_BYTES,
    )


@dataclass(frozen=True, slots=True)
class CachePlan:
    """What keeping every state would take, what may be taken, and what follows."""

    states: tuple[SiteStates, ...]
    """Per site, in the order of the suite."""
    budget: int
    """Bytes that states may take in memory."""
    choice: Placement
    """What is done with states that do not fit."""
    folder: Path | None
    """Where they go if they spill."""
    counted: str
    """How the counts came about, as a clause."""
    limited: str
    """Where the budget comes from, as a clause."""

    @property
    def needed(self) -> int:
        """Bytes of all states of all sites."""
        return sum(states.total for states in self.states)

    @property
    def largest(self) -> int:
        """Bytes of all states of the site that takes most; sites are mostly worked on one after another."""
        return max((states.total for states in self.states), default=0)

    @property
    def source_bytes(self) -> int:
        """Bytes of all source vectors of all sites."""
        return sum(states.sources for states in self.states)

    def to_json(self) -> dict[str, Any]:
        """Return the plan's figures, in bytes, with its choice and its text."""
        return {
            "choice": self.choice,
            "needed_bytes": self.needed,
            "largest_site_bytes": self.largest,
            "source_bytes": self.source_bytes,
            "budget_bytes": self.budget,
            "folder": None if self.folder is None else str(self.folder),
            "sites": {str(entry.site): entry.total for entry in self.states},
            "text": self.text(),
        }

    def text(self) -> str:
        """Return the plan as one paragraph."""
        return f"{self._needs()} {self._has()} {self._does()}"

    def _needs(self) -> str:
        sizes = ", ".join(f"{entry.site} {written_bytes(entry.total)}" for entry in self.states[:_NAMED])
        more = f" and {len(self.states) - _NAMED} more" if len(self.states) > _NAMED else ""
        return (
            f"To keep every state of base rows takes {written_bytes(self.needed)} ({sizes}{more}), "
            f"source vectors {written_bytes(self.source_bytes)}; {self.counted}."
        )

    def _has(self) -> str:
        return f"States may take {written_bytes(self.budget)} of memory ({self.limited})."

    def _does(self) -> str:
        if self.choice == "memory":
            return "All of them fit: each is computed once."
        one = (
            "The states of one site fit at a time, all of them do not"
            if self.largest <= self.budget
            else (f"{100 * self.budget / self.largest:.0f} % of the largest site's fit")
        )
        if self.choice == "spill":
            return f"{one}: the rest spills to {self.folder}."
        return (
            f"{one}: the rest is computed again when it is needed. --cache-folder DIR would keep it on disk."
        )


def plan_cache(
    sites: Sequence[Site],
    counts: Mapping[Position, StateCounts],
    shape: CacheShape,
    *,
    budget: int,
    folder: Path | None = None,
    counted: str = "counted on the instance",
    limited: str = "--cache-memory",
) -> CachePlan:
    """Return what keeping every state of these sites takes and what is done with what does not fit; `counts`
    are by position. Sites with the same first block and position share their states."""
    different = {(first_block(site), site.position): site for site in reversed(sites)}
    kept = [site for site in sites if different[first_block(site), site.position] is site]
    states = tuple(site_states(site, counts[site.position], shape) for site in kept)
    fits = sum(entry.total for entry in states) <= budget
    choice: Placement = "memory" if fits else "recompute" if folder is None else "spill"
    return CachePlan(states, budget, choice, folder, counted, limited)
