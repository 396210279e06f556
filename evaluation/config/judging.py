"""How outcomes are judged: settings that decide what counts, whatever is fitted; it judges nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DEFAULT_LABEL_TOKENS = 3
"""Enough to tell most answers apart; an answer's later tokens are not compared."""


@dataclass(frozen=True, slots=True)
class Judging:
    """What outcomes depend on beside model, instance and featurizer; another setting gives other outcomes."""

    label_tokens: int = DEFAULT_LABEL_TOKENS
    """How many of an answer's first tokens are compared."""
    tolerance: bool = True
    """Whether an answer that is close counts where the attribute's matcher lets it."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the track; none are stated of `interchange`, which has only the two above."""
