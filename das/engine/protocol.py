"""What every engine can do. An engine knows prompts, token ids, positions and a featurizer; nothing of
attributes or methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from das.featurizers.base import Featurizer
from das.models.base import TargetModel
from das.sites import Site
from ravel.schema import Completion, Prompt

__all__ = ["Engine", "ForcedPair"]


@dataclass(frozen=True, slots=True)
class ForcedPair:
    """A base prompt with a label forced after it, and the source prompt whose vector is brought in."""

    base: Prompt
    """The prompt that is answered."""
    source: Prompt
    """The prompt whose vector at the site is the interchange's source."""
    label_ids: tuple[int, ...]
    """Token ids put after the base prompt; at least one."""


class Engine(Protocol):
    """Runs a target model. `reference`, `direct` and (later) `resume` agree on values and gradients."""

    name: str
    """As on the command line: `direct`."""
    target: TargetModel
    """The model that is run."""

    def collect(self, prompts: Sequence[Prompt], sites: Sequence[Site]) -> dict[Site, Tensor]:
        """Return the vectors at each site, [n_prompts, width] in float32, in the order of `prompts`; no
        gradient. The width is the target's at that site."""
        ...

    def complete(self, prompts: Sequence[Prompt], max_new_tokens: int) -> list[Completion]:
        """Continue each prompt greedily, in the order of `prompts`."""
        ...

    def interchange_logits(
        self, pairs: Sequence[ForcedPair], site: Site, featurizer: Featurizer | None
    ) -> Tensor:
        """Return the logits that predict each label token, [n_pairs, longest label, vocabulary] in float32.

        Position j of a row predicts `label_ids[j]`; rows with shorter labels are filled with zeros at the
        end. With `featurizer=None` nothing is changed. Gradients flow to the featurizer's parameters only,
        where autograd is on.
        """
        ...
