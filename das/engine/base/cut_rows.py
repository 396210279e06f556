"""Rows of token ids, cut where a site changes them; no model is run here."""

from __future__ import annotations

from dataclasses import dataclass

from das.models.base import Place


@dataclass(frozen=True, slots=True)
class CutRow:
    """A prompt with the labels forced after it, cut where the site is."""

    ids: tuple[int, ...]
    """The prompt, the first label but for its last token, and the second one likewise."""
    start: int
    """Index of the site's token."""
    fork: int
    """Length of the prompt: where the labels begin."""
    second: int
    """Where the second label begins; the length of `ids` if there is none. Its tokens follow the prompt, not
    the first label."""

    @property
    def after(self) -> int:
        """Number of tokens from the site on."""
        return len(self.ids) - self.start

    @property
    def asked(self) -> int:
        """Number of tokens whose next token is asked for: the prompt's last one and all after it."""
        return len(self.ids) - self.fork + 1

    @property
    def prefix(self) -> tuple[int, ...]:
        """The tokens before the site."""
        return self.ids[: self.start]


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a change is made: after a block, or inside it."""

    layer: int
    """Index of the block."""
    inside: Place | None
    """The part of the block that is changed; None: what the block returns."""

    @property
    def first(self) -> int:
        """The first block whose keys and values before the cut are needed."""
        return self.layer + 1 if self.inside is None else self.layer

    @property
    def key(self) -> tuple[int, bool]:
        """What is kept for this cut is kept for all with the same."""
        return self.layer, self.inside is None
